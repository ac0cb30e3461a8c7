import math
import os
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms import v2

from marr_pipeline.data import AUGMENTATIONS, load_dataset
from marr_pipeline.data.picture import Decoding, open_image
from marr_pipeline.data.streamed import (
    AREA,
    FLIP,
    JITTER,
    LARGE_NUM_DRAWS,
    LEFT,
    ORDER,
    RATIO,
    TOP,
    StreamedSplit,
    crop_window,
    large_view,
)
from marr_pipeline.data.views import RandomView, ViewPass
from marr_pipeline.errors import DataError, PipelineError

SIZE = 72
CROP, JITTERED = AUGMENTATIONS["resized-crop-flip"], AUGMENTATIONS["resized-crop-jitter"]
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


def batches(split, *passes, augmentation=JITTERED):
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


@pytest.mark.parametrize("purpose", ["training", "cache", None])
def test_a_view_is_clean_or_drawn_from_seed_number_and_source_index(purpose, split, tmp_path):
    view = purpose and RandomView(purpose=purpose, seed=5, number=3)
    ((images, labels),) = batches(split, one_pass([8, 1], view))
    assert images.dtype == torch.uint8
    assert torch.equal(labels, split.labels[[8, 1]])
    for image, row in zip(images, (8, 1), strict=True):
        own = split.source_indices[row : row + 1]
        draws = view and view.draw(own, LARGE_NUM_DRAWS)[0]
        file = open_image(tmp_path / split.ids[row])
        assert torch.equal(image, large_view(file, draws, JITTERED, size=SIZE))


def test_files_in_another_order_give_the_same_images(split):
    order = torch.arange(len(split)).flip(0)
    view = RandomView(purpose="cache", seed=5, number=1)
    ((images, labels),) = batches(split.ordered(order), one_pass([0, 3], view))
    ((same, same_labels),) = batches(split, one_pass([9, 6], view))
    assert torch.equal(images, same)
    assert torch.equal(labels, same_labels)


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


def test_a_broken_image_is_one_line_with_its_path(split, tmp_path):
    path = tmp_path / split.ids[3]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"train/0/3\.png: a readable image expected") as caught:
        batches(replace(split, workers=1), one_pass([2]), one_pass([3]))
    assert "\n" not in str(caught.value)


def test_a_killed_worker_is_one_line(split):
    workers_of_others = set(torch.multiprocessing.active_children())
    images = replace(split, workers=1).batches(
        (one_pass([row]) for row in [0] * 400), augmentation=JITTERED, device=CPU
    )
    next(images)
    (worker,) = set(torch.multiprocessing.active_children()) - workers_of_others
    os.kill(worker.pid, 9)
    with pytest.raises(PipelineError, match=r"image workers: .* give fewer --workers"):
        list(images)


def test_the_content_tells_other_files_but_not_another_place(split, tmp_path):
    before = split.content().tobytes()
    assert before == replace(split, workers=3).content().tobytes()
    assert before != replace(split, image_size=SIZE + 1).content().tobytes()
    turned = replace(split.files, decoding=Decoding(exif=True))
    assert before != replace(split, files=turned).content().tobytes()
    path = tmp_path / split.ids[0]
    path.write_bytes(path.read_bytes() + b"\0")
    assert split.content().tobytes() != before


@pytest.fixture(scope="module")
def picture():
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 13, 3), dtype=np.uint8))
    return coarse.resize((320, 200), Image.Resampling.BICUBIC)


def uniforms_of(**columns):
    """Numbers of 0.5: no flip, and a square of 54 % of the area in the middle."""
    draws = torch.full((LARGE_NUM_DRAWS,), 0.5, dtype=torch.float64)
    places = {"area": AREA, "ratio": RATIO, "top": TOP, "left": LEFT, "flip": FLIP, "order": ORDER}
    for name, value in columns.items():
        draws[{**places, "jitter": JITTER}[name]] = torch.as_tensor(value, dtype=torch.float64)
    return draws


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.mark.parametrize(("size", "short_side"), [(224, 256), (112, 128)])
def test_the_test_view_is_resize_and_centre(size, short_side, picture):
    reference = v2.Compose([v2.Resize(short_side), v2.CenterCrop(size), v2.PILToTensor()])
    assert torch.equal(large_view(picture, None, JITTERED, size=size), reference(picture))


@pytest.mark.parametrize("flip", [0.0, 0.49, 0.5])
def test_a_view_is_pillows_crop_and_resize(flip, picture):
    draws = uniforms_of(area=0.1, ratio=0.25, top=0.9, left=0.2, flip=flip)
    top, left, rows, columns = crop_window(200, 320, draws.tolist())
    window = picture.crop((left, top, left + columns, top + rows))
    expected = window.resize((64, 64), Image.Resampling.BILINEAR)
    expected = ImageOps.mirror(expected) if flip < 0.5 else expected
    assert torch.equal(large_view(picture, draws, CROP, size=64), to_tensor(expected))


@pytest.mark.parametrize(
    ("order", "steps"), [(0.0, (0, 1, 2)), (0.3, (0, 2, 1)), (0.5, (1, 2, 0)), (0.99, (2, 1, 0))]
)
def test_jitter_is_pillows_in_the_drawn_order(order, steps, picture):
    draws = uniforms_of(order=order, jitter=[0.0, 1.0, 0.25])
    factors = (0.6, 1.4, 0.8)
    expected = Image.fromarray(large_view(picture, draws, CROP, size=48).permute(1, 2, 0).numpy())
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for step in steps:
        expected = enhancers[step](expected).enhance(factors[step])
    assert torch.equal(large_view(picture, draws, JITTERED, size=48), to_tensor(expected))


@given(
    height=st.integers(1, 700),
    width=st.integers(1, 700),
    seed=st.integers(0, 2**32),
)
def test_a_window_lies_inside_with_the_area_and_the_ratio(height, width, seed):
    view = RandomView(purpose="training", seed=seed, number=0)
    (draws,) = view.draw(torch.tensor([7]), LARGE_NUM_DRAWS).tolist()
    top, left, rows, columns = crop_window(height, width, draws)
    assert 0 <= top <= top + rows <= height
    assert 0 <= left <= left + columns <= width
    assert rows > 0
    assert columns > 0
    if min(height, width) >= 100 and max(height, width) <= 1.3 * min(height, width):
        assert 3 / 4 - 0.05 < columns / rows < 4 / 3 + 0.05
        assert rows * columns / (height * width) > 0.07


# A window of at least 8 % of such a strip is higher (or wider) than it whatever the draw.
@pytest.mark.parametrize(
    ("size", "window"),
    [((10, 1000), (0, 493, 10, 13)), ((1000, 10), (493, 0, 13, 10)), ((1, 400), (0, 199, 1, 1))],
)
def test_a_strip_gives_its_centre(size, window):
    assert crop_window(*size, uniforms_of().tolist()) == window


def test_the_first_try_that_fits_is_taken():
    # 200 x 320: the whole area with ratio 1 is 253 pixels high; the third try is a ninth of it.
    area = [1.0, 1.0, (1 / 9 - 0.08) / 0.92, *[0.5] * 7]
    draws = uniforms_of(area=area, top=0.0, left=0.0).tolist()
    side = round(math.sqrt(200 * 320 / 9))
    assert crop_window(200, 320, draws) == (0, 0, side, side)


def test_areas_and_ratios_are_spread_evenly():
    draws = RandomView(purpose="training", seed=0, number=0).draw(
        torch.arange(4_000), LARGE_NUM_DRAWS
    )
    windows = np.array([crop_window(4_000, 4_000, row) for row in draws.tolist()])
    area = windows[:, 2] * windows[:, 3] / 4_000**2
    small = area[area < 0.5]  # fits at every ratio
    counts, _ = np.histogram(small, bins=6, range=(0.08, 0.5))
    assert np.abs(counts - len(small) / 6).max() < 5 * math.sqrt(len(small) / 6)
    assert abs(np.log(windows[:, 3] / windows[:, 2]).mean()) < 0.02
