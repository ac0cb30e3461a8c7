import os
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from marr_pipeline.data import AUGMENTATIONS, load_dataset
from marr_pipeline.data.augment import draw_epoch, draw_view
from marr_pipeline.data.decode import open_image
from marr_pipeline.data.large import LARGE_NUM_DRAWS, large_eval, large_view
from marr_pipeline.data.stream import StreamedSplit
from marr_pipeline.data.views import RandomView, ViewPass
from marr_pipeline.errors import ConfigError, DataError, PipelineError

SIZE = 72
JITTER = AUGMENTATIONS["resized-crop-jitter"]
CPU = torch.device("cpu")
LINES = [f"train/{label}/{i}.png {label}" for label, n in enumerate((7, 5, 2)) for i in range(n)]


@pytest.fixture
def dataset(write_list, paint_all, tmp_path):
    """14 images of three classes, of which 12 are drawn."""
    paint_all(*LINES)
    return load_dataset(
        "list",
        data_root=tmp_path,
        lists={"train": write_list(*LINES)},
        image_size=SIZE,
        imbalance_ratio=7,
        workers=0,
    )


@pytest.fixture
def split(dataset):
    return dataset.train


def batches(split, *passes, augmentation=JITTER):
    return list(split.batches(passes, augmentation=augmentation, device=CPU))


def one_pass(rows, view=None, bounds=None):
    return ViewPass(rows=torch.tensor(rows), bounds=bounds or (0, len(rows)), view=view)


def test_large_images_stay_in_their_files(dataset, split):
    assert isinstance(split, StreamedSplit)
    assert dataset.class_counts.tolist() == [7, 2, 1]
    assert split.image_shape == (3, SIZE, SIZE)
    assert len(split) == len(split.ids) == 10
    assert dataset.normalisation.mean == (0.485, 0.456, 0.406)
    assert dataset.defaults.augmentation == "resized-crop-jitter"


def test_a_clean_image_is_the_test_view_of_its_file(split, tmp_path):
    ((images, labels),) = batches(split, one_pass([9, 0, 4]))
    assert images.dtype == torch.uint8
    assert torch.equal(labels, split.labels[[9, 0, 4]])
    for image, row in zip(images, (9, 0, 4), strict=True):
        assert torch.equal(image, large_eval(open_image(tmp_path / split.ids[row]), size=SIZE))


@pytest.mark.parametrize(("purpose", "draw"), [("training", draw_epoch), ("cache", draw_view)])
def test_a_random_view_is_drawn_from_seed_number_and_source_index(purpose, draw, split, tmp_path):
    view = RandomView(purpose=purpose, seed=5, number=3)
    ((images, _),) = batches(split, one_pass([8, 1], view))
    place = {"training": "epoch", "cache": "view"}[purpose]
    for image, row in zip(images, (8, 1), strict=True):
        source = split.source_indices[row : row + 1]
        draws = draw(source, seed=5, num_draws=LARGE_NUM_DRAWS, **{place: 3})[0]
        file = open_image(tmp_path / split.ids[row])
        assert torch.equal(image, large_view(file, draws, JITTER, size=SIZE))


def test_neither_batches_nor_workers_change_an_image(split):
    passes = [
        ViewPass(
            rows=torch.from_numpy(np.random.default_rng(epoch).permutation(10)),
            bounds=(0, 4, 5, 10) if epoch else (0, 5, 10),
            view=RandomView(purpose="training", seed=0, number=7),
        )
        for epoch in range(2)
    ]
    alone = {
        row: batches(split, one_pass([row], passes[0].view))[0][0][0] for row in range(len(split))
    }
    assert len({image.numpy().tobytes() for image in alone.values()}) == len(alone)
    wanted = [
        each.rows[start:stop].tolist() for each in passes for start, stop in pairwise(each.bounds)
    ]
    for workers in (0, 2):
        found = batches(replace(split, workers=workers), *passes)
        assert len(found) == len(wanted)
        for (images, labels), rows in zip(found, wanted, strict=True):
            assert torch.equal(images, torch.stack([alone[row] for row in rows]))
            assert torch.equal(labels, split.labels[rows])


def test_global_random_state_is_left_alone(split):
    before = torch.random.get_rng_state()
    batches(split, one_pass([0], RandomView(purpose="cache", seed=0, number=1)))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_one_line_with_its_path(workers, split, tmp_path):
    path = tmp_path / split.ids[3]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"train/0/3\.png: a readable image expected") as caught:
        batches(replace(split, workers=workers), one_pass([2]), one_pass([3]))
    assert "\n" not in str(caught.value)


def test_a_killed_worker_is_one_line(split):
    workers_of_others = set(torch.multiprocessing.active_children())
    images = replace(split, workers=1).batches(
        (one_pass([row]) for row in [0] * 400), augmentation=JITTER, device=CPU
    )
    next(images)
    (worker,) = set(torch.multiprocessing.active_children()) - workers_of_others
    os.kill(worker.pid, 9)
    with pytest.raises(PipelineError, match=r"image workers: .* give fewer --workers"):
        list(images)


def test_augmentations_and_images_of_another_kind_are_refused(split, write_list, tmp_path):
    with pytest.raises(ConfigError, match="one for large images expected at 72 pixels"):
        split.batches([], augmentation=AUGMENTATIONS["crop-flip"], device=CPU)
    lists = {"train": write_list(*LINES)}
    small = load_dataset("list", data_root=tmp_path, lists=lists, image_size=64).train
    with pytest.raises(ConfigError, match="one for images in memory expected at 64 pixels"):
        small.batches([], augmentation=JITTER, device=CPU)


def test_the_content_tells_other_files_but_not_another_place(split, tmp_path):
    before = split.content().tobytes()
    assert before == replace(split, workers=3).content().tobytes()
    assert before != replace(split, image_size=SIZE + 1).content().tobytes()
    path = tmp_path / split.ids[0]
    path.write_bytes(path.read_bytes() + b"\0")
    assert split.content().tobytes() != before


def test_a_missing_file_is_found_before_anything_is_read(write_list, paint_all, tmp_path):
    paint_all(*LINES[1:])
    with pytest.raises(DataError, match=r"train.txt, line 1: .*0/0.png expected, got none \(1 of"):
        load_dataset(
            "list", data_root=tmp_path, lists={"train": write_list(*LINES)}, image_size=SIZE
        )
