"""A stopped writer leaves what it wrote, and the next one of the same plan begins with it."""

import errno
import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from caches import plan_of, write_splits
from resumable import (
    BLOCK,
    BLOCKS,
    LOGITS,
    NUM_ROWS,
    PLAN,
    StopError,
    assert_whole,
    finish,
    names,
    place_of,
    stop_after,
    write_blocks,
    write_labels,
    write_with,
)

import marr_pipeline.cache.write
from marr_pipeline.cache import (
    CacheError,
    CacheWriteError,
    CacheWriter,
    SplitPlan,
    StaleCacheError,
    fingerprint,
    open_cache,
)


@pytest.mark.parametrize("error", [StopError, KeyboardInterrupt])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_stopped_writer_is_gone_on_from(make, tmp_path, error, reverse):
    path = tmp_path / "x.h5"
    stop_after(make(), BLOCKS[7:20], error)
    assert names(path) == ["x.h5.journal", "x.h5.partial"]
    writer = make()
    assert finish(writer, reverse=reverse) == len(BLOCKS) - 13
    assert writer.num_rows_kept == 13 * BLOCK
    assert_whole(path)


def test_stopped_again_and_again(make, tmp_path):
    for first in range(0, 50, 10):
        stop_after(make(), BLOCKS[first : first + 10])
    assert finish(make()) == len(BLOCKS) - 50
    assert_whole(tmp_path / "x.h5")


def test_without_a_block_nothing_is_left(make, tmp_path):
    stop_after(make(), [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("num_blocks", "resume", "missing"), [(len(BLOCKS), True, 0), (5, False, len(BLOCKS))]
)
def test_a_whole_file_is_sealed_and_without_resume_it_is_begun_anew(
    make, tmp_path, num_blocks, resume, missing
):
    stop_after(make(), BLOCKS[:num_blocks])
    assert finish(make(resume=resume)) == missing
    assert_whole(tmp_path / "x.h5")


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"parts": {"weights": "abd", "transforms": {"mean": [0.4]}}}, 'weights: "abc" -> "abd"'),
        ({"dtype": "float16"}, 'rows.splits/train/logits: ["<f4",3,2000,4] -> ["<f2",3,2000,4]'),
        ({"class_counts": np.array([41, 20, 8, 2])}, "class_counts"),
        ({"splits": {"train": PLAN, "test": PLAN}}, "rows.splits/test/labels: added"),
    ],
)
def test_another_plan_is_refused_with_the_difference(make, tmp_path, change, difference):
    stop_after(make(), BLOCKS[:5])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(StaleCacheError, match="--overwrite to start anew") as refused:
        write_with(make(**change))
    assert difference in str(refused.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert finish(make()) == len(BLOCKS) - 5


def test_an_unfinished_cache_of_the_old_draws_is_refused(make, settings, tmp_path):
    """As version 1.0 left it: its views were drawn otherwise, and its journal names no version."""
    parts = {**settings["parts"], "transforms": {"train": {"draws": "philox4x32-10"}}}
    stop_after(make(parts=parts), BLOCKS[:5])
    journal = tmp_path / "x.h5.journal"
    first, rest = journal.read_bytes().split(b"\n", 1)
    header = json.loads(first.rpartition(b" ")[0])
    del header["format_version"]
    header["digest"] = fingerprint({name: header[name] for name in ("parts", "layout")})
    old = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    journal.write_bytes(b"%s %08x\n%s" % (old, zlib.crc32(old), rest))
    version = r'got format_version: "1\.0" -> "1\.2"; '
    with pytest.raises(StaleCacheError, match=f"{version}ask"):
        write_with(make(parts=parts))
    new = {**settings["parts"], "transforms": {"train": {"draws": "numpy-philox"}}}
    draws = 'transforms.train.draws: "philox4x32-10" -> "numpy-philox"; '
    with pytest.raises(StaleCacheError, match=f"{version}{draws}ask"):
        write_with(make(parts=new))
    assert finish(make(parts=new, overwrite=True)) == len(BLOCKS)


def test_overwrite_replaces_another_plan_and_keeps_its_own(make, settings, tmp_path):
    other = {**settings["parts"], "weights": "other"}
    stop_after(make(parts=other), BLOCKS[:5])
    stop_after(make(overwrite=True), BLOCKS[:3])
    writer = make(overwrite=True)
    assert finish(writer) == len(BLOCKS) - 3
    assert_whole(tmp_path / "x.h5")


def test_other_meta_and_versions_are_no_other_plan(make, tmp_path):
    stop_after(make(), BLOCKS[:5])
    finish(
        make(creator="tests 2.0, of quite another length", meta={"config": {"long": "x" * 9000}})
    )
    assert open_cache(tmp_path / "x.h5").meta("config") == {"long": "x" * 9000}
    assert np.array_equal(open_cache(tmp_path / "x.h5").split("train").logits, LOGITS)


def flip(path, offset):
    with path.open("rb+") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("dataset", ["logits", "features"])
def test_a_block_with_a_flipped_bit_is_written_again(make, tmp_path, dataset):
    stop_after(make(), BLOCKS[:12])
    partial = tmp_path / "x.h5.partial"
    place = place_of(partial, dataset)
    flip(partial, place.offset + 5 * BLOCK * place.shape[-1] * 4 + 3)
    assert finish(make()) == len(BLOCKS) - 11
    assert_whole(tmp_path / "x.h5")


@pytest.mark.parametrize("left", [0, 100, 30_000, 60_000, -1])
def test_a_truncated_file_loses_the_blocks_beyond_its_end_only(make, tmp_path, left):
    stop_after(make(), BLOCKS)
    partial = tmp_path / "x.h5.partial"
    places = [place_of(partial, name) for name in ("logits", "features")]
    size = left % partial.stat().st_size

    def is_whole(view, start):
        stop = view * NUM_ROWS + start + BLOCK
        return all(place.offset + stop * place.shape[-1] * 4 <= size for place in places)

    os.truncate(partial, size)
    assert finish(make()) == sum(not is_whole(*block) for block in BLOCKS)
    assert_whole(tmp_path / "x.h5")


def test_a_damaged_line_costs_its_block_only(make, tmp_path):
    stop_after(make(), BLOCKS[:12])
    journal = tmp_path / "x.h5.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[4] = b"garbage\x00\xff\n"
    journal.write_bytes(b"".join(lines) + b"torn 1 2")
    assert finish(make()) == len(BLOCKS) - 11
    assert_whole(tmp_path / "x.h5")


def test_a_foreign_journal_is_left_alone(make, tmp_path):
    journal = tmp_path / "x.h5.journal"
    journal.write_text("notes of mine\n")
    with pytest.raises(CacheError, match="move it away, or give --overwrite"):
        write_with(make())
    assert names(journal) == ["x.h5.journal"]
    assert journal.read_text() == "notes of mine\n"
    assert finish(make(overwrite=True)) == len(BLOCKS)
    assert_whole(tmp_path / "x.h5")


@pytest.mark.parametrize("lost", ["x.h5.partial", "x.h5.journal"])
def test_rows_and_their_journal_are_nothing_without_each_other(make, tmp_path, lost):
    stop_after(make(), BLOCKS[:5])
    (tmp_path / lost).unlink()
    assert finish(make()) == len(BLOCKS)
    assert_whole(tmp_path / "x.h5")


def test_the_journal_of_another_plan_is_forgotten_with_its_rows(make, settings, tmp_path):
    stop_after(make(parts={**settings["parts"], "weights": "other"}), BLOCKS[:5])
    (tmp_path / "x.h5.partial").unlink()
    assert finish(make()) == len(BLOCKS)
    assert_whole(tmp_path / "x.h5")


def test_a_block_changed_while_writing_is_not_sealed(make, tmp_path):
    partial = tmp_path / "x.h5.partial"

    def change(writer):
        flip(partial, place_of(partial, "logits").offset + (NUM_ROWS + 350) * 16)

    steps = [write_labels, lambda writer: write_blocks(writer, BLOCKS), change]
    with pytest.raises(CacheError, match=r"view 1, rows 300\.\.399: the bytes that were written"):
        write_with(make(), *steps)
    assert names(partial) == ["x.h5.journal", "x.h5.partial"]
    assert finish(make()) == 1
    assert_whole(tmp_path / "x.h5")


def test_a_number_that_is_not_finite_costs_its_block_only(make, tmp_path):
    def write_nan(writer):
        rows = np.full((BLOCK, 4), np.nan, np.float32)
        features = np.zeros((BLOCK, 3), np.float32)
        writer.write_block("train", view=0, start=500, logits=rows, features=features)

    with pytest.raises(CacheError, match="logits, row 500: finite float32 expected, got nan"):
        write_with(make(), lambda writer: write_blocks(writer, BLOCKS[:5]), write_nan)
    assert finish(make()) == len(BLOCKS) - 5
    assert_whole(tmp_path / "x.h5")


def test_other_writers_do_not_replace_an_unfinished_cache(make, splits, settings, tmp_path):
    stop_after(make(), BLOCKS[:5])
    with pytest.raises(CacheWriteError, match=r"got an unfinished cache .* began it once more"):
        write_splits(tmp_path / "x.h5", splits, **settings)
    assert finish(make()) == len(BLOCKS) - 5
    (tmp_path / "x.h5").unlink()
    stop_after(make(), BLOCKS[:5])
    write_splits(tmp_path / "x.h5", splits, overwrite=True, **settings)
    assert names(tmp_path / "x.h5") == ["x.h5"]


def test_space_that_is_taken_already_is_not_asked_for(make, monkeypatch):
    stop_after(make(), BLOCKS[:30])
    asked = []
    monkeypatch.setattr(
        marr_pipeline.cache.write, "check_space", lambda path, size: asked.append(size)
    )
    stop_after(make(), [])
    total = len(BLOCKS) * BLOCK * 28 + NUM_ROWS * 8
    assert asked[0] < total - 25 * BLOCK * 28


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="tells files by /proc")
@pytest.mark.parametrize("which", ["rows", "journal"])
def test_a_disk_that_fills_up_costs_one_block(make, tmp_path, monkeypatch, which):
    pwrite = os.pwrite

    def no_space(descriptor, content, offset):
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        if ("journal" in name) == (which == "journal"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(descriptor, content, offset)

    def fill_up(writer):
        monkeypatch.setattr(os, "pwrite", no_space)

    steps = [lambda w: write_blocks(w, BLOCKS[:9]), fill_up, lambda w: write_blocks(w, BLOCKS[9:])]
    with pytest.raises(CacheWriteError, match=r"No space left on device.*free space there"):
        write_with(make(), *steps)
    monkeypatch.undo()
    assert finish(make()) == len(BLOCKS) - 9
    assert_whole(tmp_path / "x.h5")


def test_a_plain_head_is_enough(tmp_path):
    plan = SplitPlan(num_samples=10, views=("augmented",))
    with CacheWriter(tmp_path / "x.h5", plan_of({"tune": plan}), resumable=True) as writer:
        writer.write_labels("tune", np.zeros(10, np.int64))
        writer.write_block("tune", view=0, start=0, logits=LOGITS[0, :10], features=None)
    assert names(tmp_path / "x.h5") == ["x.h5"]
