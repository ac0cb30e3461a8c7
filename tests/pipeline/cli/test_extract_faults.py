"""An extraction that is killed, stopped or disturbed: nothing is lost, and no row is wrong."""

import os
import shutil
import signal

import numpy as np
import pytest
from resumable import assert_same_cache, names
from warm import full_disk, slow_blocks, wait_until

from marr_pipeline.cache import open_cache, verify_cache

VIEWS = 5
NUM_ROWS = 482 * (1 + VIEWS) + 400
SIZES = [128, 128, 128, 98] * (1 + VIEWS) + [128, 128, 128, 16]
NUM_BLOCKS = len(SIZES)
NUM_KILLS = 10
# Blocks after which the process is killed: ten places drawn at random, the ends among them.
KILLS = [0, NUM_BLOCKS, *np.random.default_rng(0).integers(1, NUM_BLOCKS, NUM_KILLS - 2).tolist()]


@pytest.fixture(scope="module")
def trained(warm, tmp_path_factory):
    """A checkpoint and its cache, written without a fault."""
    path = tmp_path_factory.mktemp("whole") / "whole.h5"
    options = ["--iterations", 5, "--batch-size", 32, "--views", VIEWS]
    done = warm.run("extract", "--dataset", "digits-lt", *options, "-o", path)
    assert done.code == 0, done.err
    return path


def arguments_of(trained, path):
    """The arguments that write the same cache again."""
    options = ["--checkpoint", trained.with_suffix(".pt"), "--views", VIEWS, "-o", path]
    return ["extract", "--dataset", "digits-lt", *options]


@pytest.fixture
def command(trained, tmp_path):
    """The arguments that write the same cache as `x.h5`, and the path of that."""
    path = tmp_path / "x.h5"
    return arguments_of(trained, path), path


def journalled(path):
    """Blocks in the journal."""
    journal = path.with_name(path.name + ".journal")
    try:
        return max(0, journal.read_bytes().count(b"\n") - 1)
    except FileNotFoundError:
        return -1


def assert_same(path, whole):
    """The same cache, and nothing is left beside it."""
    assert_same_cache(path, whole)
    assert names(path) == [path.name]


def start_and_wait(warm, arguments, path, *, blocks):
    """Start an extraction and wait until so many blocks are in its journal, or it is done."""
    started = warm.start(*arguments, prelude=slow_blocks(0.01))
    wait_until(lambda: journalled(path) >= blocks or path.exists())
    return started


def kept_rows(done):
    """How many rows a resumed command says that it kept; 0 if it says nothing."""
    lines = [line for line in done.err.splitlines() if "going on with" in line]
    return int(lines[0].split("going on with ")[1].split()[0].replace(",", "")) if lines else 0


@pytest.mark.parametrize("blocks", KILLS)
def test_killed_at_any_point_it_goes_on_bit_by_bit(warm, command, trained, blocks):
    arguments, path = command
    killed = start_and_wait(warm, arguments, path, blocks=blocks)
    killed.send(signal.SIGKILL)
    # The last point lies so close to the end that the process may be faster.
    assert killed.wait() == -signal.SIGKILL or blocks == NUM_BLOCKS
    resumed = warm.run(*arguments)
    assert resumed.code == 0, resumed.err
    assert kept_rows(resumed) >= rows_of(blocks) or "already there" in resumed.err
    assert_same(path, trained)


def rows_of(blocks):
    """How many rows the first so many blocks have."""
    return sum(SIZES[:blocks])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_signal_it_says_what_is_kept(warm, command, trained, number):
    arguments, path = command
    stopped = start_and_wait(warm, arguments, path, blocks=7)
    stopped.send(number)
    assert stopped.wait() == 130, stopped.err
    last = stopped.err.splitlines()[-1]
    kept = int(last.removeprefix("interrupted: ").split()[0].replace(",", ""))
    assert last == (
        f"interrupted: {kept:,} of {NUM_ROWS:,} rows are kept, the same command goes on from there"
    )
    assert "Traceback" not in stopped.err
    assert names(path) == ["x.h5.journal", "x.h5.partial"]
    resumed = warm.run(*arguments, "--json")
    assert resumed.code == 0, resumed.err
    assert kept_rows(resumed) == kept
    assert f'"rows": {NUM_ROWS}, "rows_kept": {kept}' in resumed.out
    assert_same(path, trained)


def test_a_second_writer_is_refused_and_the_first_is_not_disturbed(warm, command, trained):
    arguments, path = command
    first = start_and_wait(warm, arguments, path, blocks=3)
    first.send(signal.SIGSTOP)
    before = journalled(path)
    second = warm.run(*arguments)
    assert second.code == 1
    assert "one writer expected, got a second" in second.error
    assert journalled(path) == before
    first.send(signal.SIGCONT)
    assert first.wait() == 0, first.err
    assert_same(path, trained)


def stop_half_way(warm, arguments, path):
    stopped = start_and_wait(warm, arguments, path, blocks=NUM_BLOCKS // 2)
    stopped.send(signal.SIGKILL)
    assert stopped.wait() == -signal.SIGKILL


def retrained(warm, folder, *options):
    """Another checkpoint."""
    path = folder / "other.pt"
    done = warm.run("train", "--dataset", "digits-lt", "--batch-size", 32, *options, "-o", path)
    assert done.code == 0, done.err
    return path


@pytest.fixture(scope="module")
def half(warm, trained, tmp_path_factory):
    """A folder with what an extraction has left that was killed half-way."""
    folder = tmp_path_factory.mktemp("half")
    stop_half_way(warm, arguments_of(trained, folder / "x.h5"), folder / "x.h5")
    return folder


@pytest.mark.parametrize(
    ("training", "options", "difference"),
    [
        (["--iterations", 6], [], "weights.conv1.weight"),
        (["--iterations", 5, "--data-seed", 1], [], "splits.train.indices"),
        (None, ["--seed", 1], "transforms.train.seed: 0 -> 1"),
        (None, ["--store", "logits"], 'store: "both" -> "logits"'),
        (None, ["--dtype", "float16"], 'dtype: "float32" -> "float16"'),
        (None, ["--bn", "train"], 'transforms.train.batch_norm: "eval" -> "train"'),
        (None, ["--views", VIEWS + 1], "transforms.train.views"),
    ],
)
def test_what_has_changed_since_is_named(
    warm, command, half, tmp_path_factory, training, options, difference
):
    arguments, path = command
    left = {name: (half / name).read_bytes() for name in ("x.h5.journal", "x.h5.partial")}
    shutil.copytree(half, path.parent, dirs_exist_ok=True)
    changed = [*arguments, *options]
    if training is not None:
        folder = tmp_path_factory.mktemp("other")
        changed[changed.index("--checkpoint") + 1] = retrained(warm, folder, *training)
    refused = warm.run(*changed)
    assert refused.code == 3, refused.err
    assert difference in refused.error
    assert "--overwrite to start anew" in refused.error
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == left


IN_ORDER = """
from dataclasses import replace
from marr_pipeline.workflows.phase_one import Network
def in_order(self, batch_norm, batch_size):
    return replace(self, batch_norm=batch_norm, batch_size=batch_size)
Network.for_extraction = in_order
"""


def test_batches_of_another_order_are_not_gone_on_with(warm, command):
    """Those of the data's order, as they once were."""
    arguments, path = command
    arguments += ["--bn", "train"]
    stopped = warm.run(*arguments, prelude=IN_ORDER + full_disk(after=30))
    assert "rows are kept" in stopped.err
    left = names(path)
    refused = warm.run(*arguments)
    assert refused.code == 3, refused.err
    assert "splits.train.indices" in refused.error
    assert names(path) == left

    assert warm.run(*arguments, "--overwrite", prelude=IN_ORDER).code == 0
    refused = warm.run(*arguments)
    assert refused.code == 3, refused.err
    assert "splits.train.indices" in refused.error


@pytest.mark.parametrize(
    ("options", "seed"), [(["--no-resume"], 0), (["--seed", 1, "--overwrite"], 1)]
)
def test_begun_anew_nothing_is_kept(warm, command, options, seed):
    arguments, path = command
    stop_half_way(warm, arguments, path)
    done = warm.run(*arguments, *options)
    assert done.code == 0, done.err
    assert kept_rows(done) == 0
    assert open_cache(path).meta("transforms")["train"]["seed"] == seed
    assert names(path) == ["x.h5"]


def test_a_journal_beside_a_sealed_cache_is_ignored(warm, command, trained):
    arguments, path = command
    stop_half_way(warm, arguments, path)
    path.with_name("x.h5.partial").unlink()
    shutil.copy(trained, path)
    done = warm.run(*arguments)
    assert done.code == 0
    assert "already there" in done.err
    assert verify_cache(path) == []


def test_a_full_disk_keeps_what_is_written(warm, command, trained):
    arguments, path = command
    failed = warm.run(*arguments, prelude=full_disk(after=30))
    assert failed.code == 1
    assert "No space left on device" in failed.error
    assert "free space there" in failed.error
    assert f"of {NUM_ROWS:,} rows are kept, the same command goes on from there" in failed.err
    resumed = warm.run(*arguments)
    assert resumed.code == 0, resumed.err
    assert kept_rows(resumed) > 0
    assert_same(path, trained)


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize("folder", ["none", "file", "locked"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(warm, command, folder, dry):
    arguments, path = command
    (path.parent / "file").write_text("")
    (path.parent / "locked").mkdir(mode=0o500)
    if folder == "locked" and os.geteuid() == 0:
        pytest.skip("permissions do not bind root")
    refused = warm.run(*arguments[:-1], path.parent / folder / "x.h5", *dry)
    assert refused.code == 1
    assert str(path.parent / folder / "x.h5") in refused.error
    assert "extracting" not in refused.err
    assert not any((path.parent / "locked").iterdir())


def test_size_and_time_are_said_before_the_work(warm, command):
    arguments, _ = command
    done = warm.run(*arguments)
    line = next(line for line in done.err.splitlines() if line.startswith("extracting"))
    assert line.startswith(f"extracting {NUM_ROWS:,} rows on cpu: 1.0 MB, about ")
    assert line.endswith(" s")
