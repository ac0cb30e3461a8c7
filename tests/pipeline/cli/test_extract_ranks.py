"""Several processes that extract one cache."""

import json
import signal

import pytest
from resumable import assert_same_cache
from warm import full_disk, run_ranks, slow_blocks, start_ranks, wait_until

VIEWS = 6
NUM_ROWS = 482 * (1 + VIEWS) + 400
TRAINING = ("--iterations", 5, "--batch-size", 32)


@pytest.fixture(scope="module")
def whole(warm, tmp_path_factory):
    """A cache, with its checkpoint, that one process wrote."""
    path = tmp_path_factory.mktemp("whole") / "whole.h5"
    done = warm.run(*arguments_of(path, *TRAINING))
    assert done.code == 0, done.err
    return path


def arguments_of(path, *options):
    return ["extract", "--dataset", "digits-lt", "--views", VIEWS, *options, "-o", path]


def test_two_processes_write_what_one_writes(warm, whole, tmp_path):
    path = tmp_path / "x.h5"
    options = ["--checkpoint", whole.with_suffix(".pt"), "--json"]
    first, second = run_ranks(warm, arguments_of(path, *options), size=2)
    assert_same_cache(path, whole)
    assert [other.name for other in tmp_path.iterdir()] == ["x.h5"]
    document = json.loads(first.out)
    assert (document["rows"], document["rows_kept"]) == (NUM_ROWS, 0)
    assert "in each of 2 processes" in first.err
    assert (second.out, second.err) == ("", "")


LATE = """
import time, marr_pipeline.cache
enter = marr_pipeline.cache.PartnerWriter.__enter__
def late(self):
    time.sleep(0.3)
    return enter(self)
marr_pipeline.cache.PartnerWriter.__enter__ = late
"""


def test_a_process_that_is_late_takes_its_own_share(warm, whole, tmp_path):
    path = tmp_path / "x.h5"
    arguments = arguments_of(path, "--checkpoint", whole.with_suffix(".pt"))
    run_ranks(warm, arguments, size=2, prelude=lambda rank: LATE if rank else "")
    assert_same_cache(path, whole)


def test_all_of_them_train_and_extract(warm, tmp_path):
    path = tmp_path / "x.h5"
    ranks = run_ranks(warm, arguments_of(path, *TRAINING), size=3)
    assert "shared by 3 processes" in ranks[0].err
    assert [(rank.out, rank.err) for rank in ranks[1:]] == [("", "")] * 2
    alone = tmp_path / "alone.h5"
    done = warm.run(*arguments_of(alone, "--checkpoint", path.with_suffix(".pt")))
    assert done.code == 0, done.err
    assert_same_cache(path, alone)
    again = run_ranks(warm, arguments_of(path, *TRAINING), size=3)
    assert "already there" in again[0].err


def test_one_that_fails_ends_all_and_nothing_is_lost(warm, whole, tmp_path):
    path = tmp_path / "x.h5"
    arguments = arguments_of(path, "--checkpoint", whole.with_suffix(".pt"))
    full = full_disk(after=20)
    ranks = run_ranks(warm, arguments, size=2, prelude=("", full).__getitem__, codes=[1, 1])
    assert ranks[0].errors == []
    assert "No space left on device" in ranks[1].error
    last = ranks[0].err.splitlines()[-1]
    assert last.startswith("stopped, as another process of the run has ended: ")
    kept = int(last.split(": ")[1].split()[0].replace(",", ""))
    assert kept > NUM_ROWS // 2
    done = warm.run(*arguments, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["rows_kept"] == kept
    assert_same_cache(path, whole)


@pytest.mark.parametrize("victim", [0, 1])
def test_one_that_is_killed_ends_all_and_nothing_is_lost(warm, whole, tmp_path, victim):
    path = tmp_path / "x.h5"
    arguments = arguments_of(path, "--checkpoint", whole.with_suffix(".pt"))
    ranks = start_ranks(warm, arguments, size=2, prelude=lambda rank: slow_blocks(0.02))
    partner = path.with_name("x.h5.journal.1")
    wait_until(lambda: partner.exists() and partner.read_bytes().count(b"\n") > 4)
    ranks[victim].send(signal.SIGKILL)
    assert ranks[victim].wait() == -signal.SIGKILL
    assert ranks[1 - victim].wait() == 1
    assert [rank.errors for rank in ranks] == [[], []]
    again = run_ranks(warm, [*arguments, "--json"], size=3)
    document = json.loads(again[0].out)
    assert 4 * 98 <= document["rows_kept"] < NUM_ROWS
    assert_same_cache(path, whole)
    assert [other.name for other in tmp_path.iterdir()] == ["x.h5"]


def test_random_batches_are_the_same_for_all_and_after_a_stop(warm, whole, tmp_path):
    options = ["--checkpoint", whole.with_suffix(".pt"), "--bn", "train", "--json"]
    alone, path = tmp_path / "alone.h5", tmp_path / "x.h5"
    assert warm.run(*arguments_of(alone, *options)).code == 0
    arguments = arguments_of(path, *options)
    ranks = start_ranks(warm, arguments, size=2, prelude=lambda rank: slow_blocks(0.02))
    partner = path.with_name("x.h5.journal.1")
    wait_until(lambda: partner.exists() and partner.read_bytes().count(b"\n") > 4)
    ranks[1].send(signal.SIGKILL)
    assert [ranks[1].wait(), ranks[0].wait()] == [-signal.SIGKILL, 1]
    again = run_ranks(warm, arguments, size=3)
    assert 4 * 98 <= json.loads(again[0].out)["rows_kept"] < NUM_ROWS
    assert_same_cache(path, alone)


def test_a_signal_to_all_keeps_what_is_written(warm, whole, tmp_path):
    path = tmp_path / "x.h5"
    arguments = arguments_of(path, "--checkpoint", whole.with_suffix(".pt"))
    ranks = start_ranks(warm, arguments, size=2, prelude=lambda rank: slow_blocks(0.02))
    partner = path.with_name("x.h5.journal.1")
    wait_until(lambda: partner.exists() and partner.read_bytes().count(b"\n") > 4)
    for rank in ranks:
        rank.send(signal.SIGTERM)
    assert [rank.wait() for rank in ranks] == [130, 130]
    last = ranks[0].err.splitlines()[-1]
    assert last.startswith("interrupted: ")
    said = int(last.split()[1].replace(",", ""))
    assert ranks[1].err == ""
    done = warm.run(*arguments, "--json")
    # The second process may have written one more block after the first one looked.
    assert 4 * 98 <= said <= json.loads(done.out)["rows_kept"] <= said + 128
    assert_same_cache(path, whole)


def test_an_error_of_the_first_is_said_once(warm, whole, tmp_path):
    path = tmp_path / "x.h5"
    path.write_text("no cache")
    arguments = arguments_of(path, "--checkpoint", whole.with_suffix(".pt"))
    ranks = run_ranks(warm, arguments, size=2, codes=[1, 1])
    assert len(ranks[0].errors) == 1
    assert ranks[1].err == ""
    assert path.read_text() == "no cache"
