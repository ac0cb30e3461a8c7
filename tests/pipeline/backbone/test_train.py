import dataclasses
import math
import signal

import numpy as np
import pytest
import torch

from marr_pipeline.backbone.checkpoints.checkpoint import load_checkpoint
from marr_pipeline.distributed import deferred_interrupt
from marr_pipeline.errors import ConfigError, DataError, TrainingError


def assert_same_weights(model, other):
    for name, value in other.items():
        assert torch.equal(model[name], value), name


@pytest.fixture(scope="module")
def uninterrupted(make_plan, train, tmp_path_factory):
    """Weights of the run of 18 steps that nothing stopped."""
    path = tmp_path_factory.mktemp("whole") / "whole.pt"
    train(make_plan(), path)
    return load_checkpoint(path).model


def test_a_run_learns_and_says_how_it_went(make_plan, train, tmp_path):
    calls = []
    plan = make_plan(iterations=80)
    trained = train(plan, tmp_path / "a.pt", progress=lambda *call: calls.append(call))
    assert trained.loss < 0.5 * math.log(10)  # of chance; the mean of at most a second's steps
    assert trained.images_per_second > 0
    assert calls[-1][:2] == (80, 80)
    assert "lr 0.0000" in calls[-1][2]
    stored = load_checkpoint(tmp_path / "a.pt")
    assert (stored.step, stored.finished) == (80, True)
    assert stored.record.config == plan.record().config
    assert np.array_equal(stored.record.rows["train"], plan.dataset.source_rows()["train"])
    assert_same_weights(trained.model.state_dict(), stored.model)


def test_the_seed_alone_decides_the_weights(make_plan, train, uninterrupted, tmp_path):
    torch.manual_seed(99)
    train(make_plan(), tmp_path / "again.pt")
    assert_same_weights(load_checkpoint(tmp_path / "again.pt").model, uninterrupted)
    train(make_plan(seed=1), tmp_path / "other.pt")
    other = load_checkpoint(tmp_path / "other.pt").model
    assert not torch.equal(other["head.weight"], uninterrupted["head.weight"])


@pytest.mark.parametrize("stop_at", [1, 9, 17])
def test_ctrl_c_saves_and_a_resumed_run_is_exact(
    stop_at, make_plan, train, uninterrupted, tmp_path
):
    path = tmp_path / "stopped.pt"

    def interrupt(done, total, note=""):
        if done == stop_at:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(make_plan(), path, checkpoint_seconds=0.0, progress=interrupt)
    assert load_checkpoint(path).step == stop_at
    resumed = train(make_plan(), path)
    assert resumed.resumed_from == stop_at
    assert_same_weights(load_checkpoint(path).model, uninterrupted)


def test_a_finished_run_is_not_trained_again(make_plan, train, tmp_path):
    train(make_plan(iterations=2), tmp_path / "a.pt")
    before = (tmp_path / "a.pt").read_bytes()
    again = train(make_plan(iterations=2), tmp_path / "a.pt")
    assert (again.resumed_from, again.images_per_second, again.loss) == (2, None, None)
    assert (tmp_path / "a.pt").read_bytes() == before


def test_no_resume_starts_anew(make_plan, train, tmp_path):
    train(make_plan(iterations=2), tmp_path / "a.pt")
    assert train(make_plan(iterations=3), tmp_path / "a.pt", resume=False).resumed_from == 0
    assert load_checkpoint(tmp_path / "a.pt").step == 3


def test_another_run_is_not_resumed(make_plan, train, tmp_path):
    train(make_plan(iterations=2), tmp_path / "a.pt")
    message = r"recipe\.iterations 2, asked 3; seed 0, asked 1; give .*--overwrite or --no-resume"
    with pytest.raises(DataError, match=message):
        train(make_plan(iterations=3, seed=1), tmp_path / "a.pt")


def test_a_run_with_the_former_draws_is_not_resumed(make_plan, train, tmp_path):
    path = tmp_path / "a.pt"
    train(make_plan(iterations=2), path)
    content = torch.load(path, weights_only=True)
    del content["config"]["draws"]  # as it was before they were recorded
    torch.save(content, path)
    with pytest.raises(DataError, match=r"got one with draws philox4x32-10, asked philox4x64-10;"):
        train(make_plan(iterations=2), path)


def other_momentum(content):
    content["optimizer"]["state"][0]["momentum_buffer"] = torch.ones(3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(step=99), "got step 99 of 2"),
        (lambda content: content["model"].popitem(), r"got Error\(s\) in loading state_dict"),
        (other_momentum, r"got a momentum \(3,\)"),
        (lambda content: content["optimizer"].update(param_groups=[]), "got loaded state dict has"),
        (
            lambda content: content["optimizer"]["param_groups"][0].update(momentum="0.9"),
            "got an optimiser of other options",
        ),
        (
            lambda content: content.update(
                selected={"step": 1, "balanced_accuracy": 0.5, "model": {"a": torch.ones(2)}}
            ),
            r"got Error\(s\) in loading state_dict",
        ),
    ],
)
def test_a_state_of_another_training_is_refused(make_plan, train, tmp_path, change, message):
    path = tmp_path / "a.pt"
    train(make_plan(iterations=2), path)
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    expected = r"a\.pt: the state of this very training expected, "
    with pytest.raises(DataError, match=f"{expected}{message}.*; train anew by --no-resume"):
        train(make_plan(iterations=2), path)


def test_a_diverged_run_names_the_step_and_keeps_the_last_good_state(make_plan, train, tmp_path):
    plan = make_plan(iterations=6)
    steep = dataclasses.replace(plan.recipe, initial_learning_rate=1e-3, warmup=2)
    steep = dataclasses.replace(steep, peak_learning_rate=1e30)
    diverging = dataclasses.replace(plan, recipe=steep)
    with pytest.raises(TrainingError, match=r"training, step (\d): .*a\.pt holds step \1 of 6"):
        train(diverging, tmp_path / "a.pt", checkpoint_seconds=0.0)
    kept = load_checkpoint(tmp_path / "a.pt")
    assert 0 < kept.step < 6
    assert all(bool(value.isfinite().all()) for value in kept.model.values())


def test_a_negative_seed_is_refused(make_plan):
    with pytest.raises(ConfigError, match="seed: at least 0 expected, got -1"):
        make_plan(seed=-1)


def test_the_first_ctrl_c_waits_and_the_second_does_not():
    handler = signal.getsignal(signal.SIGINT)
    with deferred_interrupt() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is handler


def test_sigterm_waits_however_often_it_comes():
    handler = signal.getsignal(signal.SIGTERM)
    with deferred_interrupt() as interrupted:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert interrupted()
    assert signal.getsignal(signal.SIGTERM) is handler
