"""Outputs are complete or absent, whoever else writes them and whatever they are links to."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from marr_pipeline.errors import PipelineError
from marr_pipeline.files import check_writable, replacing


def test_two_writers_at_once_do_not_meet(tmp_path):
    path = tmp_path / "a.bin"
    with replacing(path) as first:
        first.write_bytes(b"first")
        with replacing(path) as second:
            assert second != first
            second.write_bytes(b"second, and longer")
        assert path.read_bytes() == b"second, and longer"
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_racing_writers_leave_one_whole_file(tmp_path):
    path = tmp_path / "a.bin"
    contents = [bytes([number]) * 200_000 for number in range(8)]

    def write(content):
        for _ in range(5):
            with replacing(path) as partial:
                partial.write_bytes(content)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, contents))
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_followed_and_stays(tmp_path, exists):
    (tmp_path / "store").mkdir()
    target, link = tmp_path / "store" / "real.bin", tmp_path / "link.bin"
    if exists:
        target.write_bytes(b"old")
    link.symlink_to(target)
    check_writable(link)
    with replacing(link) as partial:
        assert partial.parent == target.parent  # a rename between file systems is a copy
        partial.write_bytes(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]


def test_a_block_that_fails_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail():
        with replacing(path) as partial:
            partial.write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_only_what_a_killed_writer_left_goes_with_the_next(tmp_path):
    path, other = tmp_path / "a.bin", tmp_path / "b.bin"
    killed = (
        "import os, signal, sys, pathlib\n"
        "from marr_pipeline.files import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    for name in (path, path, other):
        subprocess.run([sys.executable, "-c", killed, name], check=False)
    left = sorted(tmp_path.iterdir())
    assert [file.suffix for file in left] == [".partial", ".lock"] * 2  # the second took the first
    with replacing(path) as living:
        os.utime(living, (0, 0))  # has not written for years, and lives
        with replacing(path) as second:
            second.write_bytes(b"second")
        assert living.exists()
        living.write_bytes(b"first")
    assert path.read_bytes() == b"first"
    assert {file.name for file in tmp_path.iterdir()} == {"a.bin", left[2].name, left[3].name}


def test_others_may_read_it_as_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "a.bin") as partial:
        partial.write_bytes(b"x")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize("name", ["missing/a.bin", "file/a.bin"])
def test_a_folder_that_is_none_is_said_by_the_name_that_was_given(tmp_path, name):
    (tmp_path / "file").touch()
    with (
        pytest.raises(PipelineError, match=f"{name}: a file in a writable folder"),
        replacing(tmp_path / name),
    ):
        pass
    with pytest.raises(
        PipelineError, match="create the folder, make room or choose another output"
    ):
        check_writable(tmp_path / name)


def test_a_folder_is_no_file_name(tmp_path):
    with pytest.raises(PipelineError, match="a file name expected, got a folder; add a name"):
        check_writable(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes")
def test_a_device_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PipelineError, match="a file expected, got a device or a pipe"):
        check_writable(tmp_path / "pipe")
    with (
        pytest.raises(PipelineError, match="a file expected, got a device"),
        replacing(tmp_path / "pipe"),
    ):
        pass
    assert (tmp_path / "pipe").is_fifo()
