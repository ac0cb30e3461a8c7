"""Averaged weights and mixed images: what a recipe may add to a method."""

import dataclasses
import signal

import pytest
import torch

from marr_pipeline.backbone import build_backbone
from marr_pipeline.backbone.checkpoints.checkpoint import load_checkpoint
from marr_pipeline.backbone.training.saved_state import AveragedWeights
from marr_pipeline.backbone.training.step import mixed


def with_recipe(plan, **terms):
    return dataclasses.replace(plan, recipe=dataclasses.replace(plan.recipe, **terms))


def test_an_average_is_the_stated_recursion():
    model = build_backbone("resnet8", 3, in_channels=1, seed=0)
    averaged = AveragedWeights(model, 0.5)
    expected = model.head.weight.detach().clone()
    for step in range(1, 15):
        with torch.no_grad():
            model.head.weight += 1.0
        model.bn1.num_batches_tracked += 1
        averaged.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.head.weight.detach()
    torch.testing.assert_close(averaged.state["head.weight"], expected)
    assert averaged.state["bn1.num_batches_tracked"] == 14
    assert torch.equal(averaged.model().head.weight, averaged.state["head.weight"])
    assert not torch.equal(model.head.weight, averaged.state["head.weight"])


def test_averages_are_kept_and_a_resumed_run_goes_on_with_them(make_plan, train, tmp_path):
    plan = with_recipe(make_plan(), ema=0.8, mixing="cutmix")
    train(plan, tmp_path / "whole.pt")
    whole = load_checkpoint(tmp_path / "whole.pt")
    for name, value in whole.averaged.items():
        assert torch.equal(whole.model[name], value), name

    def interrupt(done, total, note=""):
        if done == 7:
            signal.raise_signal(signal.SIGINT)

    path = tmp_path / "stopped.pt"
    with pytest.raises(KeyboardInterrupt):
        train(plan, path, checkpoint_seconds=0.0, progress=interrupt)
    stopped = load_checkpoint(path)
    assert not torch.equal(stopped.model["head.weight"], stopped.averaged["head.weight"])
    train(plan, path)
    for name, value in load_checkpoint(path).model.items():
        assert torch.equal(whole.model[name], value), name


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_every_image_is_mixed_with_the_one_before_it_by_its_share(mixing):
    torch.manual_seed(4)
    images = torch.arange(1.0, 6.0)[:, None, None, None].expand(5, 3, 16, 16)
    shares = []
    for _ in range(200):
        blended, share = mixed(images, mixing)
        before = images.roll(1, 0)
        means = share * images.mean((1, 2, 3)) + (1 - share) * before.mean((1, 2, 3))
        torch.testing.assert_close(blended.mean((1, 2, 3)), means)
        if mixing == "cutmix":
            assert ((blended == images) | (blended == before)).all()
        shares.append(float(share))
    # A rectangle is cut off at the border, which leaves images more of their own.
    assert 0.4 < sum(shares) / len(shares) < (0.6 if mixing == "mixup" else 0.9)
    assert max(shares) - min(shares) > 0.5


def test_no_mixing_leaves_images_as_they_are():
    images = torch.rand(2, 1, 4, 4)
    assert mixed(images, "none") == (images, None)
