"""Several processes that train one network: one set of weights, stopped together, nothing lost.

On a CPU each normalises by its own batch statistics, so theirs is not the training of one process,
unless the network normalises nothing.
"""

import signal

import pytest
from trainings import (
    IN_DOUBLE,
    OFTEN,
    SLOWLY,
    TOLD,
    WITH_AN_IDLE_LAYER,
    WITH_DROPOUT,
    WITHOUT_NORMS,
    assert_same_training,
    step_of,
    told_steps,
    train_command,
    unreadable_after,
    weights_told,
)
from warm import run_ranks, start_ranks, wait_until

from marr_pipeline.backbone.checkpoints.checkpoint import load_checkpoint


def train_together(warm, path, *options, size=2, prelude="", iterations=24):
    arguments = train_command(path, *options, iterations=iterations)
    ranks = run_ranks(warm, arguments, size=size, prelude=lambda rank: prelude)
    assert [(rank.out, rank.err) for rank in ranks[1:]] == [("", "")] * (size - 1)
    return ranks[0]


def largest_difference(path, other):
    """Of all tensors, relative to the largest entry of each."""
    ours, theirs = load_checkpoint(path).model, load_checkpoint(other).model
    assert list(ours) == list(theirs)
    return max(
        float((ours[name].double() - theirs[name].double()).abs().max())
        / max(float(theirs[name].double().abs().max()), 1e-300)
        for name in ours
    )


@pytest.mark.parametrize(("size", "options"), [(2, ()), (3, ("--accumulate", 3))])
def test_without_norms_they_make_the_weights_of_one_process(warm, tmp_path, size, options):
    one, several = tmp_path / "one.pt", tmp_path / "several.pt"
    prelude = WITHOUT_NORMS + IN_DOUBLE
    alone = warm.run(*train_command(one, *options), prelude=prelude)
    assert alone.code == 0, alone.err
    train_together(warm, several, *options, size=size, prelude=prelude)
    # 1e-14 after 30 steps of batches of 60 in two processes.
    assert largest_difference(several, one) < 1e-11


def test_all_of_them_have_the_same_weights_after_every_step(warm, tmp_path):
    path = tmp_path / "a.pt"
    ranks = run_ranks(
        warm, train_command(path), size=2, prelude=lambda rank: weights_told(tmp_path, rank)
    )
    assert "shared by 2 processes, each normalised by its own batch statistics" in ranks[0].err
    first, second = ((tmp_path / f"rank{rank}").read_text() for rank in (0, 1))
    assert first == second
    assert len(set(first.splitlines())) == 24


def test_all_of_them_select_the_same_weights(warm, tmp_path):
    path = tmp_path / "a.pt"
    options = ("--select-on", "tune", "--tune-fraction", 0.2)
    first = train_together(warm, path, *options, "--json")
    selected, document = load_checkpoint(path).selected, first.document["selected"]
    assert (selected.step, selected.balanced_accuracy) == tuple(document.values())
    again = train_together(warm, path, *options, "--json")
    assert again.document["selected"] == document
    assert again.document["resumed_from"] == 24


@pytest.fixture(scope="module")
def whole(warm, tmp_path_factory):
    """The checkpoint of two processes that nothing disturbed."""
    path = tmp_path_factory.mktemp("whole") / "whole.pt"
    train_together(warm, path)
    return path


@pytest.mark.parametrize("victim", [0, 1])
def test_one_that_is_killed_ends_all_and_the_state_is_kept(warm, whole, tmp_path, victim):
    path = tmp_path / "a.pt"
    ranks = start_ranks(warm, train_command(path), size=2, prelude=lambda rank: OFTEN + SLOWLY)
    wait_until(lambda: step_of(path) >= 9)
    ranks[victim].send(signal.SIGKILL)
    assert ranks[victim].wait() == -signal.SIGKILL
    assert ranks[1 - victim].wait() == 1
    assert [rank.errors for rank in ranks] == [[], []]
    kept = f"{path} holds step {step_of(path)} of 24, the same command goes on from there"
    if victim == 1:
        said = ranks[0].err.splitlines()[-1]
        assert said == f"stopped, as another process of the run has ended: {kept}"
    train_together(warm, path)
    assert_same_training(path, whole)


@pytest.mark.parametrize(("target", "number"), [(0, signal.SIGTERM), (1, signal.SIGINT)])
def test_a_signal_to_one_stops_all_after_the_same_step(warm, whole, tmp_path, target, number):
    path = tmp_path / "a.pt"
    ranks = start_ranks(warm, train_command(path), size=2, prelude=lambda rank: TOLD + SLOWLY)
    wait_until(lambda: told_steps(path) >= 5)
    ranks[target].send(number)
    assert [rank.wait() for rank in ranks] == [130, 130]
    assert 5 <= step_of(path) < 24
    kept = f"{path} holds step {step_of(path)} of 24, the same command goes on from there"
    assert ranks[0].err.splitlines()[-1] == f"interrupted: {kept}"
    assert ranks[1].err == ""
    train_together(warm, path)
    assert_same_training(path, whole)


@pytest.mark.parametrize("broken", [0, 1])
def test_an_image_that_one_cannot_read_costs_no_step(warm, whole, tmp_path, broken):
    path = tmp_path / "a.pt"
    ranks = run_ranks(
        warm,
        train_command(path),
        size=2,
        prelude=lambda rank: unreadable_after(10) if rank == broken else "",
        codes=[1 + 2 * (rank == broken) for rank in range(2)],
    )
    assert "x.png: a readable image expected" in ranks[broken].error
    assert ranks[1 - broken].errors == []
    assert step_of(path) == 10
    assert f"{path} holds step 10 of 24, the same command goes on from there" in ranks[0].err
    train_together(warm, path)
    assert_same_training(path, whole)


STEEP = (
    "from marr_pipeline.backbone.training.plan import Recipe\n"
    "Recipe.learning_rate = lambda *_: 1e30\n"
)


def test_divergence_is_said_once(warm, tmp_path):
    path = tmp_path / "a.pt"
    arguments = train_command(path)
    ranks = run_ranks(warm, arguments, size=2, prelude=lambda rank: STEEP, codes=[1, 1])
    assert f"no step is saved in {path} yet; try a smaller learning rate" in ranks[0].error
    assert ranks[1].err == ""


def test_the_number_of_processes_decides_the_weights(warm, whole, tmp_path):
    one = tmp_path / "one.pt"
    assert warm.run(*train_command(one)).code == 0
    assert load_checkpoint(whole).record.config["norm_groups"] == 2
    assert "norm_groups" not in load_checkpoint(one).record.config
    assert largest_difference(whole, one) > 1e-3
    path = tmp_path / "a.pt"
    path.write_bytes(whole.read_bytes())
    refused = run_ranks(warm, train_command(path), size=3, codes=[3, 1, 1])
    assert "norm_groups 2, asked 3" in refused[0].error
    assert [rank.err for rank in refused[1:]] == ["", ""]


def test_dropout_is_repeated_by_the_same_number_of_processes(warm, tmp_path):
    path, again = tmp_path / "a.pt", tmp_path / "again.pt"
    train_together(warm, path, prelude=WITH_DROPOUT)
    stopped = WITH_DROPOUT + unreadable_after(7)
    arguments = train_command(again)
    run_ranks(warm, arguments, size=2, prelude=lambda rank: stopped, codes=[3, 3])
    train_together(warm, again, prelude=WITH_DROPOUT)
    assert_same_training(again, path)


def test_a_batch_too_small_to_share_is_refused_once(warm, tmp_path):
    arguments = ["train", "--dataset", "digits-lt", "--batch-size", 2, "-o", tmp_path / "a.pt"]
    ranks = run_ranks(warm, [*arguments, "--iterations", 3], size=3, codes=[2, 1, 1])
    assert "at least 3 images expected for 1 micro-batches in 3 processes, got 2" in ranks[0].error
    assert [rank.err for rank in ranks[1:]] == ["", ""]


def test_a_parameter_without_a_gradient_is_refused_in_one_line(warm, tmp_path):
    arguments, idle = train_command(tmp_path / "a.pt"), WITH_AN_IDLE_LAYER
    ranks = run_ranks(warm, arguments, size=2, prelude=lambda rank: idle, codes=[1, 1])
    assert "got one with parameters that get no gradient; train it in one process" in ranks[0].error
    alone = train_command(tmp_path / "one.pt", iterations=2)
    assert warm.run(*alone, prelude=WITH_AN_IDLE_LAYER).code == 0
