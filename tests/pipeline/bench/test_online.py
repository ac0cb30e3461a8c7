import json

import pytest
import torch
from problems import make_inputs

from pipeline.bench.contest import marr_contest
from pipeline.bench.online import run_online_bench
from pipeline.bench.settings import BenchSettings
from pipeline.errors import ConfigError

SETTINGS = BenchSettings(l2=5e-4, reduction="plain", repeat=1)


@pytest.fixture(scope="module")
def inputs():
    """Two views of 700 samples: two batches of the paper's 512 an epoch."""
    return make_inputs(num_samples=700, num_classes=5)


def network_on(inputs, seen=None):
    """A frozen network whose logits on a view of an image are those that were cached."""

    def logits_of(views, samples):
        if seen is not None:
            seen.append((views, samples))
        return inputs.logits[views, samples]

    return logits_of


@pytest.mark.parametrize("reduction", ["plain", "weighted"])
@pytest.mark.parametrize("center", ["zero", "logit-adjustment", "tempered"])
def test_the_online_way_and_ours_arrive_at_the_same_probabilities(inputs, reduction, center):
    settings = BenchSettings(l2=5e-4, reduction=reduction, center=center, repeat=1)
    contest = marr_contest(inputs, settings)
    bench = run_online_bench(contest, network_on(inputs), dataset=None, steps=60, repeat=1)
    assert bench.agreement.probabilities.largest < 1e-5
    assert bench.agreement.num_rows == 2 * len(inputs.labels)


def test_other_images_would_be_noticed(inputs):
    def other_views(views, samples):
        return inputs.logits[1 - views, samples]

    contest = marr_contest(inputs, SETTINGS)
    bench = run_online_bench(contest, other_views, dataset=None, steps=60, repeat=1)
    assert bench.agreement.probabilities.largest > 1e-3


def test_an_epoch_meets_every_sample_once(inputs):
    seen = []
    contest = marr_contest(inputs, SETTINGS)
    bench = run_online_bench(contest, network_on(inputs, seen), dataset=None, steps=4, repeat=1)
    sizes = [len(samples) for _, samples in seen]
    num_samples = len(inputs.labels)
    assert sizes == [512, num_samples - 512] * 2
    assert bench.images == sum(sizes)
    first_epoch = torch.cat([samples for _, samples in seen[:2]])
    assert torch.equal(first_epoch.sort().values, torch.arange(num_samples))


@pytest.mark.parametrize(("steps", "extrapolated"), [(4, True), (20, False), (None, False)])
def test_seconds_of_the_schedule_are_in_proportion_to_its_steps(monkeypatch, steps, extrapolated):
    monkeypatch.setattr("pipeline.rectify.schedule.CIFAR_ITERATIONS", 20)
    few = make_inputs(num_samples=20, num_classes=3)
    contest = marr_contest(few, SETTINGS)
    document = run_online_bench(
        contest, network_on(few), dataset=None, steps=steps, repeat=1
    ).document()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (document["schedule_steps"], document["is_extrapolated"]) == (20, extrapolated)
    assert document["schedule_images"] == 20 * len(few.labels)
    whole = document["seconds"] * 20 / (steps or 20)
    assert document["schedule_seconds"] == pytest.approx(whole)
    assert document["speed_up"] == {
        "sgd": pytest.approx(document["seconds"] / document["sgd_seconds"]),
        "lbfgs": pytest.approx(whole / document["lbfgs_seconds"]),
    }


@pytest.mark.parametrize("steps", [0, 2001])
def test_a_length_beyond_the_schedule_is_refused(inputs, steps):
    contest = marr_contest(inputs, SETTINGS)
    with pytest.raises(ConfigError, match=f"--steps: 1 to 2,000 expected, .* got {steps}"):
        run_online_bench(contest, network_on(inputs), dataset=None, steps=steps, repeat=1)
