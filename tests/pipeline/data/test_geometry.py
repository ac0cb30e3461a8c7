import pytest
import torch

from marr_pipeline.data.geometry import (
    FILL,
    OUTSIDE,
    copy_pixels,
    cubic_sources,
    interpolate_pixels,
    nearest_sources,
)

HEIGHT, WIDTH = 6, 9


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, HEIGHT, WIDTH), dtype=torch.uint8, generator=generator)


def move(images, operation, *strengths):
    tables = [nearest_sources(operation, strength, HEIGHT, WIDTH) for strength in strengths]
    return copy_pixels(images, torch.stack(tables))


def shear(images, operation, *strengths):
    tables = [cubic_sources(operation, strength, HEIGHT, WIDTH) for strength in strengths]
    return interpolate_pixels(images, *map(torch.stack, zip(*tables, strict=True)))


@pytest.mark.parametrize("operation", ["Rotate", "TranslateX", "TranslateY", "ShearX", "ShearY"])
def test_strength_zero_changes_nothing(operation, images):
    assert torch.equal(move(images, operation, 0.0, 0.0), images)


@pytest.mark.parametrize("operation", ["ShearX", "ShearY"])
def test_cubic_strength_zero_changes_nothing(operation, images):
    assert torch.equal(shear(images, operation, 0.0, 0.0), images)


def test_each_image_moves_by_its_own_strength(images):
    moved = move(images, "TranslateX", 2.0, -1.0)
    assert torch.equal(moved[0, :, :, :-2], images[0, :, :, 2:])
    assert torch.equal(moved[1, :, :, 1:], images[1, :, :, :-1])
    assert bool((moved[0, :, :, -2:] == FILL).all())
    assert bool((moved[1, :, :, 0] == FILL).all())


@pytest.mark.parametrize(("strength", "pixels"), [(2.4, 2), (2.6, 3), (-2.4, -2), (-2.6, -3)])
def test_a_broken_translation_goes_to_the_nearest_pixel(strength, pixels, images):
    assert torch.equal(
        move(images, "TranslateY", strength, strength), move(images, "TranslateY", pixels, pixels)
    )


def test_a_half_turn_is_two_flips(images):
    assert torch.equal(move(images, "Rotate", 180.0, 180.0), images.flip(2, 3))


def test_a_positive_rotation_is_counter_clockwise():
    sources = nearest_sources("Rotate", 10.0, 31, 31).reshape(31, 31)
    top = divmod(int(sources[2, 15]), 31)
    assert top[1] > 15  # what is at the top was to the right of it
    assert int(sources[0, 0]) == OUTSIDE


def test_a_cubic_shear_lies_between_pixels(images):
    # Sheared by 1 a row about the corner, pixel centres are half a pixel off: every offset is 1/2.
    taps, offset, inside = cubic_sources("ShearX", 1.0, HEIGHT, WIDTH)
    assert bool((offset == 0.5).all())
    assert taps.shape == (4, HEIGHT * WIDTH)
    place = torch.arange(HEIGHT * WIDTH)
    rows, columns = place // WIDTH, place % WIDTH
    assert torch.equal(inside, columns + rows + 1 < WIDTH)
    assert torch.equal(taps[1] // WIDTH, rows)


def test_between_four_pixels_lies_the_cubic():
    image = torch.tensor([10, 20, 60, 80], dtype=torch.uint8).reshape(1, 1, 1, 4)
    taps, _, inside = cubic_sources("ShearX", 0.0, 1, 4)
    middle = interpolate_pixels(
        image, taps[None], torch.full((1, 4), 0.5, dtype=torch.float64), inside[None]
    )
    # b + t (c - a + t (2a - 2b + c - d + t (b - a - c + d))) at t = 1/2 between 20 and 60:
    # 20 + (50 + (-40 + 30 / 2) / 2) / 2 = 38.75.
    assert int(middle[0, 0, 0, 1]) == 38
