import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.data import AUGMENTATIONS
from marr_pipeline.data.resident import (
    CROP_X,
    CROP_Y,
    CUT_X,
    CUT_Y,
    FLIP,
    NUM_DRAWS,
    TOGETHER,
    ResidentSplit,
    augment_batch,
)
from marr_pipeline.data.views import Augmentation, RandomView, ViewPass
from marr_pipeline.names import SMALL_AUGMENTATIONS

VIEW = RandomView(purpose="cache", seed=3, number=1)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(1, 256, (60, 3, 32, 32), dtype=np.uint8))


def draws_of(num_samples, **columns):
    """Draws of 0.75 (no flip) except the given columns."""
    draws = torch.full((num_samples, NUM_DRAWS), 0.75, dtype=torch.float64)
    for column, value in columns.items():
        draws[:, {"y": CROP_Y, "x": CROP_X, "flip": FLIP, "cy": CUT_Y, "cx": CUT_X}[column]] = value
    return draws


@pytest.mark.parametrize("name", SMALL_AUGMENTATIONS)
def test_a_row_does_not_depend_on_its_batch(name, images):
    draws = VIEW.draw(torch.arange(len(images)), NUM_DRAWS)
    whole = augment_batch(images, draws, AUGMENTATIONS[name])
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(images)))
    shuffled = augment_batch(images[order], draws[order], AUGMENTATIONS[name])
    alone = augment_batch(images[7:8], draws[7:8], AUGMENTATIONS[name])
    assert torch.equal(whole[order], shuffled)
    assert torch.equal(whole[7:8], alone)
    assert whole.dtype == torch.uint8


def test_none_changes_nothing(images):
    draws = VIEW.draw(torch.arange(len(images)), NUM_DRAWS)
    assert torch.equal(augment_batch(images, draws, Augmentation()), images)


@pytest.mark.parametrize("size", [8, 32])
@given(y=st.floats(0, 1, exclude_max=True), x=st.floats(0, 1, exclude_max=True), flip=st.booleans())
def test_crop_and_flip_are_a_window_of_the_padded_image(size, y, x, flip):
    image = torch.arange(size * size, dtype=torch.int64).remainder(255).add(1)
    image = image.to(torch.uint8).reshape(1, 1, size, size)
    draws = draws_of(1, y=y, x=x, flip=0.0 if flip else 0.5)
    view = augment_batch(image, draws, AUGMENTATIONS["crop-flip"])
    pad = {8: 1, 32: 4}[size]
    padded = np.pad(image[0, 0].numpy(), pad)
    top, left = int(y * (2 * pad + 1)), int(x * (2 * pad + 1))
    window = padded[top : top + size, left : left + size]
    assert np.array_equal(view[0, 0].numpy(), window[:, ::-1] if flip else window)


def test_every_offset_is_equally_likely():
    draws = VIEW.draw(torch.arange(90_000), NUM_DRAWS)
    offsets = (draws[:, CROP_Y] * 9).long()
    counts = torch.bincount(offsets, minlength=9).double()
    assert len(counts) == 9
    assert float((counts - 10_000).abs().max()) < 500  # five standard deviations


@pytest.mark.parametrize(
    ("cy", "cx", "rows", "columns"),
    [(0.5, 0.5, (8, 24), (8, 24)), (0.0, 0.999, (0, 8), (23, 32)), (0.25, 0.0, (0, 16), (0, 8))],
)
def test_cutout_is_black_inside_its_clipped_square_only(cy, cx, rows, columns, images):
    view = augment_batch(images[:2], draws_of(2, cy=cy, cx=cx), Augmentation(cutout=True))
    expected = images[:2].clone()
    expected[:, :, rows[0] : rows[1], columns[0] : columns[1]] = 0
    assert torch.equal(view, expected)


def test_a_device_is_never_asked_for_a_value(images):
    draws = VIEW.draw(torch.arange(len(images)), NUM_DRAWS).to("meta")
    for name in SMALL_AUGMENTATIONS:
        view = augment_batch(images.to("meta"), draws, AUGMENTATIONS[name])
        assert view.shape == images.shape


@pytest.mark.parametrize("together", [2, 3, 100])
def test_batches_whose_views_are_drawn_together_are_the_same(images, together, monkeypatch):
    labels = torch.arange(len(images))
    split = ResidentSplit(images, labels, labels)
    rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    bounds = (*range(0, len(images), 3), len(images))
    passes = [ViewPass(rows=rows, bounds=bounds, view=view) for view in (VIEW, None)]

    def batches():
        cpu, augmentation = torch.device("cpu"), AUGMENTATIONS["autoaugment-cutout"]
        return list(split.batches(passes, augmentation=augmentation, device=cpu))

    alone = batches()
    monkeypatch.setitem(TOGETHER, "cpu", together)
    for one, other in zip(alone, batches(), strict=True):
        assert all(map(torch.equal, one, other))
