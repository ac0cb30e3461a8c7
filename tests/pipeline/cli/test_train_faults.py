"""A training that is killed, stopped or disturbed ends as one that was not, bit by bit."""

import errno
import os
import signal

import pytest
from trainings import (
    OFTEN,
    SLOWLY,
    TOLD,
    WITH_DROPOUT,
    WITHOUT_NORMS,
    assert_same_training,
    metrics_of,
    step_of,
    told_steps,
    train_command,
    unreadable_after,
)
from warm import wait_until

WAYS = {
    "plain": ([], ""),
    "accumulated": (["--accumulate", 3], ""),
    "selected": (["--select-on", "tune", "--tune-fraction", 0.2], ""),
    "dropout": ([], WITH_DROPOUT),
    "half": (["--precision", "float16"], WITHOUT_NORMS),  # a CPU convolves these in minutes
}


@pytest.fixture(scope="module")
def whole(warm, tmp_path_factory):
    """Checkpoints of trainings that nothing disturbed, by the way they went."""
    done = {}

    def train(way):
        if way not in done:
            done[way] = tmp_path_factory.mktemp(way) / "whole.pt"
            options, prelude = WAYS[way]
            run = warm.run(*train_command(done[way], *options), prelude=prelude)
            assert run.code == 0, run.err
        return done[way]

    return train


@pytest.mark.parametrize(
    ("way", "step"),
    [
        *(("plain", step) for step in (1, 8)),
        ("accumulated", 9),
        ("selected", 16),
        ("dropout", 5),
        ("half", 11),
    ],
)
def test_killed_it_ends_with_the_very_weights(warm, whole, tmp_path, way, step):
    path, (options, prelude) = tmp_path / "a.pt", WAYS[way]
    arguments = train_command(path, *options)
    killed = warm.start(*arguments, prelude=prelude + OFTEN + SLOWLY)
    wait_until(lambda: step_of(path) >= step)
    killed.send(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert step <= step_of(path) < 24
    resumed = warm.run(*arguments, "--json", prelude=prelude)
    assert resumed.code == 0, resumed.err
    assert resumed.document["resumed_from"] >= step
    assert_same_training(path, whole(way))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_step_and_says_what_is_kept(warm, whole, tmp_path, number):
    path = tmp_path / "a.pt"
    stopped = warm.start(*train_command(path), prelude=TOLD + SLOWLY)
    wait_until(lambda: told_steps(path) >= 5)
    stopped.send(number)
    assert stopped.wait() == 130
    assert 5 <= step_of(path) < 24
    kept = f"interrupted: {path} holds step {step_of(path)} of 24, the same command goes on"
    assert stopped.err.splitlines()[-1].startswith(kept)
    assert "Traceback" not in stopped.err
    resumed = warm.run(*train_command(path))
    assert resumed.code == 0, resumed.err
    assert_same_training(path, whole("plain"))


def test_an_unreadable_image_costs_no_step(warm, whole, tmp_path):
    path = tmp_path / "a.pt"
    failed = warm.run(*train_command(path), prelude=unreadable_after(10))
    assert failed.code == 3
    assert failed.error.startswith("error: x.png: a readable image expected")
    assert f"{path} holds step 10 of 24, the same command goes on from there" in failed.err
    resumed = warm.run(*train_command(path), "--json")
    assert resumed.document["resumed_from"] == 10
    assert_same_training(path, whole("plain"))


NO_SPACE_TO_SAVE = """
import errno, torch
save, calls = torch.save, []
def full(content, file):
    calls.append(1)
    if len(calls) > 6:
        file.write(b"half a checkpoint")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    save(content, file)
torch.save = full
"""
NO_SPACE_FOR_METRICS = """
import errno
write, lines = os.write, []
def full(descriptor, content):
    if content.startswith(b'{"step"'):
        lines.append(1)
        if len(lines) > 7:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return write(descriptor, content)
os.write = full
"""


@pytest.mark.parametrize(
    ("prelude", "name"),
    [(NO_SPACE_TO_SAVE, "a.pt"), (NO_SPACE_FOR_METRICS, "a.pt.metrics.jsonl")],
)
def test_a_full_disk_keeps_the_last_state(warm, whole, tmp_path, prelude, name):
    path = tmp_path / "a.pt"
    failed = warm.run(*train_command(path), prelude=OFTEN + prelude)
    assert failed.code == 1
    assert f"{name}: a file in a writable folder with space left expected" in failed.error
    assert os.strerror(errno.ENOSPC) in failed.error
    kept = step_of(path)
    assert kept >= 6
    assert f"{path} holds step {kept} of 24, the same command goes on from there" in failed.err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.pt", "a.pt.metrics.jsonl"]
    resumed = warm.run(*train_command(path))
    assert resumed.code == 0, resumed.err
    assert_same_training(path, whole("plain"))


def test_a_second_process_is_refused_and_the_first_is_not_disturbed(warm, whole, tmp_path):
    path = tmp_path / "a.pt"
    first = warm.start(*train_command(path), prelude=OFTEN + SLOWLY)
    wait_until(lambda: step_of(path) > 2)
    second = warm.run(*train_command(path))
    assert second.code == 1
    assert "a.pt: one process to train it expected, got a second" in second.error
    assert first.wait() == 0, first.err
    assert_same_training(path, whole("plain"))


def test_metrics_and_summary_tell_the_same(warm, whole):
    options, _ = WAYS["selected"]
    path = whole("selected").with_name("again.pt")
    done = warm.run(*train_command(path, *options), "--json")
    assert done.code == 0, done.err
    document, lines = done.document, metrics_of(path)
    last = lines[-1]
    assert document["metrics"] == f"{path}.metrics.jsonl"
    assert (document["loss"], document["accuracy"]) == (last["loss"], last["accuracy"])
    assert document["skipped_steps"] == last["skipped_steps"] == 0
    assert (last["step"], last["finished"]) == (24, True)
    assert last["epoch"] == pytest.approx(24 / 7, abs=1e-4)
    scores = {line["step"]: line["tune_balanced_accuracy"] for line in lines[:-1] if len(line) == 4}
    assert set(scores) == {7, 14, 21, 24}
    selected = document["selected"]
    assert scores[selected["step"]] == selected["balanced_accuracy"] == max(scores.values())
    assert f"loss {last['loss']:.3f}" in done.err
    assert f"{100 * last['accuracy']:.1f} % of the last training views right" in done.err


@pytest.mark.parametrize("command", ["train", "extract"])
def test_a_setting_that_decides_the_weights_is_not_changed_on_the_way(warm, tmp_path, command):
    path = tmp_path / "a.pt"
    stopped = warm.run(*train_command(path), prelude=OFTEN + unreadable_after(3))
    assert stopped.code == 3
    arguments = train_command(path, "--accumulate", 2, "--precision", "bfloat16")
    if command == "extract":
        arguments = ["extract", *arguments[1:-1], path.with_suffix(".h5")]
    refused = warm.run(*arguments)
    assert refused.code == 3
    assert "accumulate None, asked 2; precision float32, asked bfloat16" in refused.error
    changed = train_command(path, "--no-channels-last")
    done = warm.run(*changed)
    assert done.code == 0, done.err
