import csv

import matplotlib.image
import numpy as np
import pytest
import torch

from marr_pipeline.data import AUGMENTATIONS, load_dataset
from marr_pipeline.data.resident import NUM_DRAWS, augment_batch
from marr_pipeline.data.views import RandomView
from marr_pipeline.workflows.views import draw_views, rows_head_to_tail


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits-lt")


def test_the_sheet_and_its_numbers_are_written(run, tmp_path):
    sheet = tmp_path / "views.png"
    done = run("views", "--dataset", "digits-lt", "--rows", "3", "--columns", "4", "-o", sheet)
    assert done.code == 0, done.err
    assert "crop, seed 0: wrote" in done.err
    assert "; an image each of 3 of 10 classes" in done.err
    assert done.out == ""
    assert matplotlib.image.imread(sheet).std() > 0.1
    with sheet.with_suffix(".csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["column"] for line in lines[:5]] == ["clean", "1", "2", "3", "4"]
    assert len(lines) == 3 * 5


def test_an_augmentation_for_images_of_another_kind_is_refused(run, tmp_path):
    sheet = tmp_path / "views.png"
    asked = ("--dataset", "digits-lt", "--augmentation", "resized-crop-flip", "-o", sheet)
    done = run("views", *asked)
    assert done.code == 2
    assert "augmentation: one for images in memory expected at 8 pixels" in done.error
    assert not sheet.exists()


def test_the_views_are_those_of_the_cache(digits):
    rows = np.array([3, 200])
    images = draw_views(digits, rows, num_views=2, augmentation="crop", seed=9)
    chosen = digits.train.images[rows]
    expected = [chosen]
    for view in (1, 2):
        drawn = RandomView(purpose="cache", seed=9, number=view)
        draws = drawn.draw(digits.train.source_indices[rows], NUM_DRAWS)
        expected.append(augment_batch(chosen, draws, AUGMENTATIONS["crop"]))
    assert torch.equal(torch.from_numpy(images).permute(0, 1, 4, 2, 3), torch.stack(expected, 1))


@pytest.mark.parametrize("num_rows", [1, 4, 10, 40])
def test_rows_go_from_the_head_to_the_tail(num_rows, digits):
    rows = rows_head_to_tail(digits, num_rows)
    labels = digits.train.labels[rows].numpy()
    assert len(rows) == len(set(labels.tolist())) == min(num_rows, 10)
    counts = digits.class_counts[labels]
    assert counts[0] == digits.class_counts.max()
    assert (np.diff(counts) <= 0).all()
    assert num_rows == 1 or counts[-1] == digits.class_counts.min()
