import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.cache import CacheError, CacheWriteError
from marr_pipeline.cache.journal import Block, Journal, read_journal

HEADER = {"format": "marr-cache-journal", "version": 1, "digest": "ab", "parts": {"seed": 3}}
FIRST = Block(split="train", view=0, start=0, stop=128, crc=0x0AE1C22B)
SECOND = Block(split="test", view=2, start=128, stop=130, crc=0)


@pytest.fixture
def path(tmp_path):
    """A journal of two blocks, one known from the start."""
    journal = Journal(tmp_path / "x.h5.journal", HEADER, [FIRST])
    journal.append(SECOND)
    journal.close()
    return tmp_path / "x.h5.journal"


def test_what_is_written_is_read(path):
    assert read_journal(path) == (HEADER, [FIRST, SECOND])
    assert [other.name for other in path.parent.iterdir()] == ["x.h5.journal"]


def test_lines_are_plain_text_with_a_sum(path):
    line = path.read_bytes().splitlines()[1]
    assert line[:31] == b"train 0 0 128 0ae1c22b " + b"%08x" % zlib.crc32(line[:22])


def test_a_line_cut_anywhere_is_none(path):
    content = path.read_bytes()
    start = content.index(b"\ntest") + 1
    for length in range(start, len(content) - 1):
        path.write_bytes(content[:length])
        assert read_journal(path)[1] == [FIRST], length


@given(data=st.data())
def test_a_flipped_bit_costs_its_own_line_only(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("journal") / "x.h5.journal"
    records = [Block(split="train", view=view, start=0, stop=9, crc=view * 77) for view in range(4)]
    Journal(path, HEADER, records).close()
    content = bytearray(path.read_bytes())
    start = content.index(b"\n") + 1
    place = data.draw(st.integers(start, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    left = read_journal(path)[1]
    # A newline that goes joins two lines, one that comes splits one.
    assert len(left) >= 2
    assert set(left) <= set(records)


@given(garbage=st.binary(max_size=200))
def test_garbage_behind_the_lines_is_left_out(tmp_path_factory, garbage):
    path = tmp_path_factory.mktemp("journal") / "x.h5.journal"
    Journal(path, HEADER, [FIRST]).close()
    with path.open("ab") as file:
        file.write(garbage)
    assert read_journal(path)[1] == [FIRST]


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "another file or a damaged one"),
        (b"notes of mine\n", "another file or a damaged one"),
        (b"\xff\x00\n\n", "another file or a damaged one"),
        (b'{"format":"other"} %08x\n' % zlib.crc32(b'{"format":"other"}'), "another file"),
        (
            b'{"format":"marr-cache-journal","version":2} %08x\n'
            % zlib.crc32(b'{"format":"marr-cache-journal","version":2}'),
            "version 2",
        ),
    ],
)
def test_another_file_is_refused(tmp_path, content, got):
    path = tmp_path / "x.h5.journal"
    path.write_bytes(content)
    with pytest.raises(CacheError, match=f"a journal of version 1 expected, got {got}"):
        read_journal(path)
    assert path.read_bytes() == content


def test_a_damaged_first_line_is_refused(path):
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    with pytest.raises(CacheError, match=r"a damaged one; .* --overwrite to start anew"):
        read_journal(path)


def test_a_journal_that_cannot_be_read(tmp_path):
    with pytest.raises(CacheWriteError, match="a file that can be written expected, got 'No such"):
        read_journal(tmp_path / "x.h5.journal")
