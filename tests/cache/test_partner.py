"""Several writers of one cache."""

from contextlib import suppress

import pytest
from resumable import (
    BLOCK,
    BLOCKS,
    StopError,
    assert_whole,
    finish,
    names,
    write_blocks,
    write_labels,
    write_with,
)

from marr_pipeline.cache import CacheError, CacheWriteError, StaleCacheError


def test_partners_write_their_part(make, tmp_path):
    writer = make()
    with writer:
        write_labels(writer)
        for rank in (1, 2):
            with make().partner(rank) as partner:
                write_blocks(partner, BLOCKS[rank::3])
        write_blocks(writer, BLOCKS[::3])
    assert_whole(tmp_path / "x.h5")


def test_what_partners_wrote_is_kept_by_any_number(make, tmp_path):
    with suppress(StopError), make() as writer:
        write_blocks(writer, BLOCKS[:4])
        with make().partner(1) as partner:
            write_blocks(partner, BLOCKS[4:10])
        raise StopError
    assert names(tmp_path / "x.h5") == ["x.h5.journal", "x.h5.journal.1", "x.h5.partial"]
    with make() as writer:
        assert writer.num_rows_kept == 10 * BLOCK
        write_labels(writer)
        with make().partner(3) as partner:
            assert partner.has_block("train", view=0, start=900, stop=1000)
            write_blocks(partner, BLOCKS[10:])
    assert_whole(tmp_path / "x.h5")


def write_as_partner(writer, blocks):
    with writer.partner(1) as partner:
        write_blocks(partner, blocks)


def test_a_block_of_two_processes_is_not_sealed(make, tmp_path):
    twice = [
        write_labels,
        lambda writer: write_as_partner(make(), BLOCKS[1:2]),
        lambda writer: write_blocks(writer, BLOCKS),
    ]
    with pytest.raises(CacheError, match="each row once expected, got row 100 a second time"):
        write_with(make(), *twice)
    assert finish(make()) == 0
    assert_whole(tmp_path / "x.h5")


def test_a_partner_of_another_plan_is_refused(make, settings):
    other = make(parts={**settings["parts"], "weights": "other"})
    with pytest.raises(StaleCacheError, match='weights: "abc" -> "other"'):
        write_with(make(), lambda writer: write_as_partner(other, []))


def test_a_partner_without_the_first_process_is_refused(make):
    with pytest.raises(CacheWriteError, match="No such file"):
        write_as_partner(make(), [])


def test_a_partner_still_at_work_keeps_a_second_writer_out(make, tmp_path):
    with suppress(StopError), make() as first:
        partner = make().partner(1)
        partner.__enter__()
        write_blocks(first, BLOCKS[:1])
        raise StopError
    with pytest.raises(CacheWriteError, match=r"while a process of the first holds x\.h5\.journal"):
        write_with(make())
    write_blocks(partner, BLOCKS[1:3])
    partner.__exit__(None, None, None)
    assert finish(make()) == len(BLOCKS) - 3
    assert_whole(tmp_path / "x.h5")
