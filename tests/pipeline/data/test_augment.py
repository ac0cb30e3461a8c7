import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode
from torchvision.transforms.autoaugment import _apply_op

from pipeline.data import AUGMENTATIONS
from pipeline.data.augment import (
    APPLY,
    CROP_X,
    CROP_Y,
    CUT_X,
    CUT_Y,
    FLIP,
    NUM_DRAWS,
    POLICY,
    SIGN,
    Augmentation,
    augment_batch,
    draw_augmentation,
    epoch_generator,
    view_generator,
)
from pipeline.data.autoaugment import FILL, POLICIES, SIGNED, autoaugment, magnitude, transform


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


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_row_does_not_depend_on_its_batch(name, images):
    draws = draw_augmentation(len(images), generator=view_generator(3, 1))
    whole = augment_batch(images, draws, AUGMENTATIONS[name])
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(images)))
    shuffled = augment_batch(images[order], draws[order], AUGMENTATIONS[name])
    alone = augment_batch(images[7:8], draws[7:8], AUGMENTATIONS[name])
    assert torch.equal(whole[order], shuffled)
    assert torch.equal(whole[7:8], alone)
    assert whole.dtype == torch.uint8


def test_none_changes_nothing(images):
    draws = draw_augmentation(len(images), generator=view_generator(0, 0))
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


def test_crop_alone_never_flips(images):
    draws = draws_of(len(images), y=0.5, x=0.5, flip=0.0)
    assert torch.equal(augment_batch(images, draws, AUGMENTATIONS["crop"]), images)


def test_every_offset_is_equally_likely():
    draws = draw_augmentation(90_000, generator=view_generator(0, 0))
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


OPERATIONS = sorted({operation for pair in POLICIES for operation, _, _ in pair})


def test_autoaugment_takes_the_drawn_pair_on_every_image(images):
    draws = draw_augmentation(len(images), generator=view_generator(5, 2))
    views = autoaugment(images, draws[:, POLICY], draws[:, APPLY], draws[:, SIGN])
    for row in range(len(images)):
        expected = images[row : row + 1]
        for stage, (operation, probability, level) in enumerate(
            POLICIES[int(draws[row, POLICY] * 25)]
        ):
            if draws[row, APPLY][stage] <= probability:
                negative = operation in SIGNED and bool(draws[row, SIGN][stage] < 0.5)
                expected = transform(expected, operation, level or 0, negative=negative)
        assert torch.equal(views[row], expected[0]), row


@pytest.mark.parametrize(
    ("operation", "negative"),
    [(operation, False) for operation in OPERATIONS] + [(name, True) for name in sorted(SIGNED)],
)
def test_a_batched_operation_is_torchvisions_on_each_image(operation, negative, images):
    strength = magnitude(operation, 7, 32) * (-1 if negative else 1)
    fill = [float(FILL)] * 3
    nearest = InterpolationMode.NEAREST
    expected = [_apply_op(image, operation, strength, nearest, fill) for image in images[:10]]
    views = transform(images[:10], operation, 7, negative=negative)
    # torchvision's two generations of kernels round a few pixels apart by one level of 255.
    torch.testing.assert_close(views.int(), torch.stack(expected).int(), atol=1, rtol=0)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_strengths_and_signs_are_torchvisions(operation):
    space = AutoAugment(AutoAugmentPolicy.CIFAR10)._augmentation_space(10, (32, 32))
    magnitudes, signed = space[operation]
    assert (operation in SIGNED) == signed
    if magnitudes.ndim:
        ours = [magnitude(operation, level, 32) for level in range(10)]
        np.testing.assert_allclose(ours, magnitudes.numpy(), rtol=1e-6, atol=1e-6)


def test_views_epochs_and_seeds_draw_apart():
    generators = [
        make(seed, index)
        for make in (epoch_generator, view_generator)
        for seed in (0, 1)
        for index in (0, 1)
    ]
    draws = [draw_augmentation(1, generator=generator) for generator in generators]
    assert len({tuple(draw.flatten().tolist()) for draw in draws}) == len(generators)


def test_a_longer_view_begins_with_the_shorter_one():
    short = draw_augmentation(5, generator=view_generator(0, 1))
    assert torch.equal(draw_augmentation(9, generator=view_generator(0, 1))[:5], short)
