"""Training beside bare steps: what a step is, what is counted, and what the shares say."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from pipeline.bench.rates import Rate
from pipeline.bench.settings import TrainSettings
from pipeline.bench.timing import Stopwatch
from pipeline.bench.training import (
    PARTS,
    BareStep,
    TrainingBench,
    TrainingLoop,
    measure_training,
    part_works,
)
from pipeline.errors import ConfigError

CPU = torch.device("cpu")


class TwoOutputs(nn.Module):
    """Logits of a batch and, for features, the batch itself."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(12, 3)

    def forward(self, images):
        features = images.flatten(1)
        return self.head(features), features


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(5, 3, 2, 2, generator=generator), torch.tensor([0, 1, 2, 0, 1])


@pytest.fixture
def model():
    with torch.random.fork_rng():
        return TwoOutputs()


def rate(images_per_second, amount=100):
    seconds = amount / images_per_second
    return Rate(amount=amount, unit="images", seconds=seconds, median_seconds=seconds, repeats=1)


def test_a_bare_step_has_torchs_gradient_and_leaves_the_weights(model, batch):
    images, labels = batch
    before = model.head.weight.detach().clone()
    step = BareStep(model, images, labels, precision=torch.float32)
    step.run()
    step.run()
    taken = model.head.weight.grad.clone()
    loss = cross_entropy(model(images)[0], labels)
    (expected,) = torch.autograd.grad(loss, model.head.weight)
    torch.testing.assert_close(taken, expected)
    assert torch.equal(model.head.weight, before)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_a_bare_step_computes_in_its_precision(precision, model, batch):
    seen = []
    model.head.register_forward_hook(lambda layer, inputs, logits: seen.append(logits.dtype))
    step = BareStep(model, *batch, precision=precision)
    step.run()
    loss = step.forward()
    assert seen == [precision, precision]
    assert loss.dtype == torch.float32
    assert bool(loss.isfinite())


def test_everything_is_done_as_often_as_it_is_counted(model, batch):
    done = dict.fromkeys(("train", "draw", "normalise"), 0)

    def count(name):
        done[name] += 1

    passes = []
    model.register_forward_hook(lambda *arguments: passes.append(1))
    loop = TrainingLoop(
        train=lambda: count("train"),
        draw=lambda: count("draw"),
        normalise=lambda: count("normalise"),
        num_images=37,
    )
    settings = TrainSettings(steps=8, repeat=2)
    step = BareStep(model, *batch, precision=torch.float32)
    bench = measure_training(step, loop, settings, device=CPU)
    turns = 1 + settings.repeat
    assert done == {"train": turns, "draw": turns, "normalise": 2 * turns}
    # 8 in bare steps, 2 forward, 2 before backward, 1 for the optimizer's gradients.
    assert len(passes) == 13 * turns
    assert (bench.bare.amount, bench.ours.amount) == (8 * 5, 37)
    assert {name: part.amount for name, part in bench.parts.items()} == {
        "batches": 37,
        **dict.fromkeys(PARTS[1:], 2 * 5),
    }


def test_a_part_is_not_charged_for_what_it_needs(model, batch, clock, monkeypatch):
    step = BareStep(model, *batch, precision=torch.float32)
    costs = {"forward": 2.0, "backward": 5.0, "update": 0.25}
    for name, seconds in costs.items():
        own = getattr(step, name)

        def slow(*arguments, own=own, seconds=seconds):
            clock.wait(seconds)
            return own(*arguments)

        monkeypatch.setattr(step, name, slow)
    idle = TrainingLoop(
        train=lambda: None, draw=lambda: None, normalise=lambda: clock.wait(1.0), num_images=1
    )
    seconds = {}
    for name, work in part_works(step, idle, num_steps=4).items():
        watch = Stopwatch(CPU)
        work.run(watch)
        seconds[name] = watch.seconds
    assert seconds == {
        "batches": 0.0,
        "normalisation": 4.0,
        "forward": 8.0,
        "backward": 20.0,
        "optimizer": 1.0,
    }


def test_shares_are_seconds_an_image_over_ours():
    parts = {
        "batches": rate(1000, amount=37),
        "normalisation": rate(10_000),
        "forward": rate(300),
        "backward": rate(150),
        "optimizer": rate(5000),
    }
    bench = TrainingBench(bare=rate(110), ours=rate(100), parts=parts)
    document = bench.document()
    assert document["ours_to_bare"] == pytest.approx({"best": 100 / 110, "median": 100 / 110})
    assert document["shares"] == pytest.approx(
        {
            "batches": 0.1,
            "normalisation": 0.01,
            "forward": 1 / 3,
            "backward": 2 / 3,
            "optimizer": 0.02,
            "rest": 1 - 1.13,
        }
    )
    assert sum(document["shares"].values()) == pytest.approx(1)


@pytest.mark.parametrize(("steps", "part_steps"), [(1, 1), (3, 1), (16, 4)])
def test_parts_take_a_quarter_of_the_steps(steps, part_steps):
    assert TrainSettings(steps=steps).part_steps == part_steps


@pytest.mark.parametrize(("option", "value"), [("steps", 0), ("repeat", 0)])
def test_a_setting_out_of_range_is_refused(option, value):
    with pytest.raises(ConfigError, match=f"--{option}: at least 1 expected, got 0"):
        TrainSettings(**{option: value})
