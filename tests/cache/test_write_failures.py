"""A file under its final name is complete, and no row lost, whatever happens to its writer."""

import errno
import fcntl
import os
import resource
import shutil
import signal
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from caches import plan_of, write_splits
from resumable import (
    BLOCK,
    BLOCKS,
    PLAN,
    assert_whole,
    finish,
    forked,
    names,
    write_blocks,
    write_with,
)
from resumable import write_labels as write_labels_and_ids

from marr_pipeline.cache import (
    CacheError,
    CacheWriteError,
    CacheWriter,
    SplitPlan,
    layout,
    open_cache,
    partial,
    verify_cache,
    write,
)

NUM_ROWS = 6
LABELS = np.arange(NUM_ROWS) % 4
UNFINISHED = ["x.h5.journal", "x.h5.partial", "x.h5.partial.lock"]
ROWS = np.arange(NUM_ROWS * 4, dtype=np.float32).reshape(NUM_ROWS, 4)


@pytest.fixture
def writer(tmp_path, settings):
    plan = SplitPlan(num_samples=NUM_ROWS, views=("clean", "augmented"))
    return CacheWriter(tmp_path / "x.h5", plan_of({"train": plan}, **settings))


def write_rows(writer: CacheWriter, view: int, start: int, stop: int) -> None:
    writer.write_block("train", view=view, start=start, logits=ROWS[start:stop], features=None)


def test_only_the_partial_name_exists_until_the_end(writer, tmp_path):
    with writer:
        writer.write_labels("train", LABELS)
        write_rows(writer, 0, 0, NUM_ROWS)
        write_rows(writer, 1, 0, NUM_ROWS)
        assert names(tmp_path / "x.h5") == ["x.h5.partial", "x.h5.partial.lock"]
        with h5py.File(tmp_path / "x.h5.partial", "r", locking=False) as file:
            assert file.attrs["state"] == "writing"
    assert [path.name for path in tmp_path.iterdir()] == ["x.h5"]
    assert verify_cache(tmp_path / "x.h5") == []


def all_labels(writer: CacheWriter) -> None:
    writer.write_labels("train", LABELS)


def all_rows(view: int) -> Callable[[CacheWriter], None]:
    return lambda writer: write_rows(writer, view, 0, NUM_ROWS)


def put(
    logits: np.ndarray | None, *, start: int = 0, features: np.ndarray | None = None
) -> Callable[[CacheWriter], None]:
    """Write a block of the augmented view."""
    return lambda w: w.write_block("train", view=1, start=start, logits=logits, features=features)


def interrupt(writer: CacheWriter) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("steps", "error", "message"),
    [
        ([all_labels, all_rows(0), interrupt], KeyboardInterrupt, None),
        (
            [all_labels, all_rows(0), put(ROWS[:2]), put(ROWS[3:5], start=3)],
            CacheError,
            r"train, view 1: all 6 rows .* 2 missing \(rows 2, 5\)",
        ),
        ([all_rows(0), all_rows(1)], CacheError, "train, labels: all 6 rows expected"),
    ],
)
def test_a_writer_that_is_not_done_leaves_nothing(writer, tmp_path, steps, error, message):
    with pytest.raises(error, match=message):
        write_with(writer, *steps)
    assert list(tmp_path.iterdir()) == []


def test_missing_ids_are_named(tmp_path, settings):
    plan = SplitPlan(num_samples=NUM_ROWS, views=("clean",), has_ids=True)
    writer = CacheWriter(tmp_path / "x.h5", plan_of({"train": plan}, **settings))
    with pytest.raises(CacheError, match="train: ids as planned expected"):
        write_with(writer, all_labels, all_rows(0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: write_rows(w, 0, 3, 5), "train, view 0: each row once expected, got row 3 a se"),
        (lambda w: write_rows(w, 2, 0, 1), "views 0..1 expected, got 2"),
        (lambda w: w.write_labels("test", LABELS), r"planned split \(train\) expected, got 'test'"),
        (lambda w: w.write_labels("train", LABELS[:3]), r"\(6,\) integers expected, got \(3,\)"),
        (lambda w: w.write_labels("train", LABELS / 2), "integers expected, got .* float64"),
        (lambda w: w.write_labels("train", LABELS + 1), "0..3 expected, got 4 in row 3"),
        (lambda w: w.write_ids("train", ["a"] * 6), "has_ids is False"),
        (put(ROWS[:3], start=4), "rows within 0..5 expected, got 4..6"),
        (put(ROWS[:, :3]), r"shape \(rows, 4\) expected, got \(6, 3\)"),
        (put(ROWS, features=ROWS), "none of features expected"),
        (put(None), "some of logits expected"),
        (
            put(np.array([[1, 2, 3, 4], [1, 2, np.nan, 4]], np.float32), start=2),
            "train, view 1, logits, row 3: finite float32 expected, got nan in column 2",
        ),
    ],
)
def test_rows_that_do_not_fit(writer, tmp_path, call, message):
    with pytest.raises(CacheError, match=message):
        write_with(writer, lambda w: write_rows(w, 0, 2, 4), call)
    assert list(tmp_path.iterdir()) == []


def test_a_number_too_large_for_float16(tmp_path, settings):
    plan = SplitPlan(num_samples=1, views=("clean",))
    writer = CacheWriter(tmp_path / "x.h5", plan_of({"train": plan}, dtype="float16", **settings))
    big = np.array([[1, 7e4, 0, 0]], np.float32)
    with pytest.raises(CacheError, match=r"row 0: finite float16 .* 70000.0 in column 1"):
        write_with(
            writer,
            lambda w: w.write_block("train", view=0, start=0, logits=big, features=None),
        )


def test_a_writer_is_of_use_only_inside_its_block(writer):
    with pytest.raises(CacheError, match="an open writer expected"):
        write_rows(writer, 0, 0, 1)


def test_an_existing_file_is_kept(sample, splits, settings):
    before = sample.read_bytes()
    with pytest.raises(CacheWriteError, match="got an existing file"):
        write_splits(sample, splits, **settings)
    assert sample.read_bytes() == before


def test_a_failed_overwrite_keeps_the_old_file(sample, splits, settings, tmp_path):
    before = sample.read_bytes()
    plans = {"train": SplitPlan(num_samples=2, views=("clean",))}
    with pytest.raises(CacheError, match="missing"):
        write_with(CacheWriter(sample, plan_of(plans, **settings), overwrite=True))
    assert sample.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["sample.h5"]


def test_overwriting_replaces_what_a_link_points_to(sample, tmp_path, splits, settings):
    link = tmp_path / "link.h5"
    link.symlink_to(sample)
    write_splits(link, {"tune": splits["test"]}, overwrite=True, **settings)
    assert link.is_symlink()
    assert list(open_cache(sample).splits) == ["tune"]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("none/x.h5", "make the folder first"),
        ("file/x.h5", "make the folder first"),
        ("", "got a folder"),
    ],
)
def test_a_name_that_no_file_can_bear(tmp_path, splits, settings, where, message):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheWriteError, match=message) as caught:
        write_splits(tmp_path / where, splits, overwrite=True, **settings)
    assert str(tmp_path / where) in str(caught.value)


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs a folder no one can write to")
def test_a_folder_that_refuses_even_root(splits, settings):
    with pytest.raises(CacheWriteError, match=r"/proc/x\.h5: a file that can be written expected"):
        write_splits(Path("/proc/x.h5"), splits, **settings)


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_read_only_folder(tmp_path, splits, settings):
    tmp_path.chmod(0o500)
    with pytest.raises(CacheWriteError, match="a folder that you may write to"):
        write_splits(tmp_path / "x.h5", splits, **settings)


def test_too_little_space_is_refused_before_the_first_row(tmp_path, monkeypatch, settings):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 10, 10))
    plan = {"train": SplitPlan(num_samples=NUM_ROWS, views=("clean",))}
    with pytest.raises(CacheWriteError, match=r"MB free expected"):
        write_with(CacheWriter(tmp_path / "x.h5", plan_of(plan, **settings)))
    assert list(tmp_path.iterdir()) == []


def limit(size: int) -> None:
    """Let no file of this process grow beyond so many bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def write_everything(writer: CacheWriter) -> None:
    write_labels_and_ids(writer)
    write_blocks(writer, BLOCKS)


@pytest.mark.parametrize("moment", ["layout", "first records", "rows", "sealing"])
def test_a_file_that_may_not_grow(tmp_path, settings, moment):
    path, unfinished = tmp_path / "x.h5", tmp_path / "x.h5.partial"
    at_first = {"layout": 100_000, "first records": 1_000}.get(moment, resource.RLIM_INFINITY)
    steps = {
        "rows": [lambda _: limit(100_000), write_everything],
        "sealing": [write_everything, lambda _: limit(unfinished.stat().st_size)],
    }.get(moment, [])

    def write_limited() -> None:
        limit(at_first)
        with pytest.raises(CacheWriteError) as caught:
            write_with(CacheWriter(path, plan_of({"train": PLAN}, **settings)), *steps)
        message = str(caught.value)
        assert message.startswith(f"{path}: a file that can be written expected")
        assert "File too large" in message
        assert "ulimit -f" in message
        assert "\n" not in message

    assert forked(write_limited) == 0
    assert list(tmp_path.iterdir()) == []


def die(*given: object, **options: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def seal_and_die(*given: object) -> None:
    layout.seal_file(*given)
    die()


def test_a_killed_writer_leaves_no_file_and_does_not_block_the_next(
    writer, tmp_path, splits, settings
):
    def write_half() -> None:  # a lock is of the process that makes it
        write_with(CacheWriter(writer.path, writer.plan), all_rows(0), die)

    assert forked(write_half) == -signal.SIGKILL
    assert names(tmp_path / "x.h5") == ["x.h5.partial", "x.h5.partial.lock"]
    write_splits(tmp_path / "x.h5", splits, **settings)
    assert verify_cache(tmp_path / "x.h5") == []
    assert names(tmp_path / "x.h5") == ["x.h5"]


@pytest.mark.parametrize(
    ("module", "function", "replacement", "left", "kept"),
    [
        (write, "Journal", die, ["x.h5.partial", "x.h5.partial.lock"], 0),
        (layout, "dataset_blocks", die, UNFINISHED, len(BLOCKS)),
        (write, "seal_file", seal_and_die, UNFINISHED, len(BLOCKS)),
        (partial, "_sync_folder", die, ["x.h5", "x.h5.journal", "x.h5.partial.lock"], 0),
    ],
)
def test_killed_at_the_worst_moments(
    make, tmp_path, monkeypatch, module, function, replacement, left, kept
):
    """Before a journal, while the file is sealed, when it is, and under its final name."""
    path = tmp_path / "x.h5"
    with monkeypatch.context() as patch:
        patch.setattr(module, function, replacement)
        assert forked(lambda: finish(make())) == -signal.SIGKILL
    assert names(path) == left
    if path.exists():
        assert verify_cache(path) == []
        path.unlink()
    resumed = make()
    assert finish(resumed) == len(BLOCKS) - kept
    assert resumed.num_rows_kept == kept * BLOCK
    assert_whole(path)


def test_a_second_writer_is_refused_and_the_first_finishes(writer, tmp_path, splits, settings):
    path = tmp_path / "x.h5"

    def second() -> None:
        with pytest.raises(CacheWriteError, match="one writer expected, got a second"):
            write_splits(path, splits, **settings)

    with writer:
        assert forked(second) == 0
        for step in (all_labels, all_rows(0), all_rows(1)):
            step(writer)
    np.testing.assert_array_equal(open_cache(path).split("train").logits, [ROWS, ROWS])
    assert verify_cache(path) == []


def test_without_locks_only_what_is_new_is_written(tmp_path, splits, settings, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", no_locks)
    write_splits(tmp_path / "x.h5", splits, **settings)
    assert verify_cache(tmp_path / "x.h5") == []
    (tmp_path / "y.h5.partial").write_text("of another writer")
    with pytest.raises(CacheWriteError, match="if no other writer is at work, delete it"):
        write_splits(tmp_path / "y.h5", splits, **settings)
    assert (tmp_path / "y.h5.partial").read_text() == "of another writer"


@pytest.mark.parametrize("make", [Path.touch, Path.write_text, os.link, os.symlink, os.mkfifo])
def test_a_partial_file_of_the_users_own_is_left_alone(tmp_path, splits, settings, make):
    victim, partial = tmp_path / "victim", tmp_path / "x.h5.partial"
    victim.write_text("of the user")
    given = {Path.touch: (partial,), Path.write_text: (partial, "of the user")}
    make(*given.get(make, (partial,) if make is os.mkfifo else (victim, partial)))
    before = partial.lstat()
    with pytest.raises(CacheWriteError, match="got another file or a link; move it away"):
        write_splits(tmp_path / "x.h5", splits, **settings, overwrite=True)
    assert (partial.lstat().st_ino, partial.lstat().st_size) == (before.st_ino, before.st_size)
    assert victim.read_text() == "of the user"
    assert {path.name for path in tmp_path.iterdir()} == {"victim", "x.h5.partial"}


def test_what_is_no_file_is_never_replaced(tmp_path, splits, settings):
    os.mkfifo(tmp_path / "pipe.h5")
    (tmp_path / "loop.h5").symlink_to("loop.h5")
    for name in ("pipe.h5", "loop.h5"):
        with pytest.raises(CacheWriteError, match="got a device, a pipe or a link to itself"):
            write_splits(tmp_path / name, splits, **settings, overwrite=True)
    assert (tmp_path / "pipe.h5").is_fifo()


def no_locks(descriptor: int, operation: int) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_no_handle_is_left_open(tmp_path, splits, settings):
    before = os.listdir("/dev/fd")  # noqa: PTH208 # names of descriptors
    for round_ in range(3):
        write_splits(tmp_path / f"{round_}.h5", splits, **settings)
        with pytest.raises(CacheWriteError):
            write_splits(tmp_path / f"{round_}.h5", splits, **settings)
    assert os.listdir("/dev/fd") == before  # noqa: PTH208
