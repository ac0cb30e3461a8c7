"""Every operation against Pillow itself, image by image, to the last bit."""

import numpy as np
import pillow_policy
import pytest
import torch
from PIL import Image

from marr_pipeline.data.autoaugment import POLICIES, STYLES, autoaugment
from marr_pipeline.data.resident import APPLY, NUM_DRAWS, POLICY, SIGN
from marr_pipeline.data.views import RandomView

REFERENCES = {
    "torchvision": pillow_policy.torchvision_operation,
    "released": pillow_policy.released_operation,
}
PLACES = [(pair, stage) for pair in range(len(POLICIES)) for stage in (0, 1)]


def pictures(height, width, *, channels=3):
    """Gradients, noise, two grey levels and one: (8, channels, height, width) uint8."""
    rng = np.random.default_rng(height)
    y, x = np.mgrid[:height, :width]
    waves = [
        127 + 127 * np.sin((y * a + x * b)[None] / 20 + np.arange(channels)[:, None, None])
        for a, b in ((1, 2), (3, -1), (0, 5))
    ]
    noise = rng.integers(0, 256, (3, channels, height, width))
    flat = np.full((channels, height, width), 77)
    halves = np.where(x < width // 3, 20, 200) + np.zeros((channels, 1, 1))
    stack = np.stack([*waves, *noise, flat, halves]).astype(np.uint8)
    return torch.from_numpy(stack)


def to_pillow(image):
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.fixture(scope="module")
def images():
    return pictures(32, 32)


@pytest.fixture(scope="module")
def drawn():
    draws = RandomView(purpose="cache", seed=5, number=2).draw(torch.arange(400), NUM_DRAWS)
    return draws[:, POLICY], draws[:, APPLY], draws[:, SIGN]


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize(("pair", "stage"), PLACES)
@pytest.mark.parametrize("name", STYLES)
def test_an_operation_is_pillows(name, pair, stage, negative, images):
    style, reference = STYLES[name], REFERENCES[name]
    operation, _, level = POLICIES[pair][stage]
    policy = torch.full((len(images),), (pair + 0.5) / len(POLICIES), dtype=torch.float64)
    apply = torch.ones(len(images), 2, dtype=torch.float64)
    apply[:, stage] = -1.0  # below any probability, so that the operation happens
    sign = torch.full((len(images), 2), 0.25 if negative else 0.75, dtype=torch.float64)
    views = autoaugment(images, policy, apply, sign, style=style, select=True)
    for view, image in zip(views, images, strict=True):
        expected = reference(to_pillow(image), operation, level, negative=negative)
        assert torch.equal(view, to_tensor(expected))


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
@pytest.mark.parametrize("name", STYLES)
def test_the_drawn_pair_is_carried_out_on_every_image(name, size, drawn):
    style, reference = STYLES[name], REFERENCES[name]
    images = pictures(*size).repeat(50, 1, 1, 1)
    policy, apply, sign = drawn
    views = autoaugment(images, policy, apply, sign, style=style, select=True)
    for row, view in enumerate(views):
        expected = to_pillow(images[row])
        pair = POLICIES[int(policy[row] * len(POLICIES))]
        for stage, (operation, probability, level) in enumerate(pair):
            if apply[row, stage] < probability:
                negative = bool(sign[row, stage] < 0.5)
                expected = reference(expected, operation, level, negative=negative)
        assert torch.equal(view, to_tensor(expected)), row


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_doing_everything_to_all_is_doing_each_to_its_own(style, channels, drawn):
    images = pictures(16, 16, channels=channels).repeat(50, 1, 1, 1)
    selected, all_done = (
        autoaugment(images, *drawn, style=style, select=select) for select in (True, False)
    )
    assert torch.equal(selected, all_done)


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_a_device_is_never_asked_for_a_value(style, drawn):
    # A tensor on `meta` has no values: reading one back, or counting who drew what, raises.
    images = pictures(32, 32).repeat(50, 1, 1, 1).to("meta")
    draws = [numbers.to("meta") for numbers in drawn]
    assert autoaugment(images, *draws, style=style, select=False).shape == images.shape
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        autoaugment(images, *draws, style=style, select=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_a_gpu_makes_the_same_views_without_a_wait(style, drawn):
    images = pictures(32, 32).repeat(50, 1, 1, 1)
    expected = autoaugment(images, *drawn, style=style, select=True)
    moved, draws = images.cuda(), [numbers.cuda() for numbers in drawn]
    autoaugment(moved, *draws, style=style, select=False)  # the first call moves the tables
    torch.cuda.set_sync_debug_mode("error")
    try:
        views = autoaugment(moved, *draws, style=style, select=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(views.cpu(), expected)


def test_an_operation_of_probability_zero_never_happens(images):
    pair = next(i for i, (_, second) in enumerate(POLICIES) if second[1] == 0.0)
    policy = torch.full((len(images),), (pair + 0.5) / len(POLICIES), dtype=torch.float64)
    apply = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(len(images), 2)
    views = autoaugment(images, policy, apply, apply, style=STYLES["released"], select=True)
    assert torch.equal(views, images)
