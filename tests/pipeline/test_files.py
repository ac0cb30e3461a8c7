"""Outputs are complete or absent, whoever else writes them and whatever they are links to."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from marr_pipeline.errors import PipelineError
from marr_pipeline.files import Product, check_replaceable, check_writable, replacing

PLAIN = Product("plain text", rb"plain")


def write(path, content=b"plain", **options):
    with replacing(path, PLAIN, **options) as partial:
        partial.write_bytes(content)


def test_of_two_writers_the_second_is_refused(tmp_path):
    path = tmp_path / "a.bin"
    with replacing(path, PLAIN) as first:
        first.write_bytes(b"plain, first")
        with pytest.raises(PipelineError, match="one writer expected, got a second"):
            write(path)
    assert path.read_bytes() == b"plain, first"
    assert list(tmp_path.iterdir()) == [path]


def test_racing_writers_leave_one_whole_file_and_clear_refusals(tmp_path):
    path = tmp_path / "a.bin"
    contents = [b"plain" + bytes([number]) * 200_000 for number in range(8)]
    refused = []

    def write_often(content):
        for _ in range(5):
            try:
                write(path, content)
            except PipelineError as error:
                refused.append(str(error))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write_often, contents))
    assert path.read_bytes() in contents
    assert len(refused) < 40
    assert all("one writer expected, got a second" in line for line in refused)
    assert list(tmp_path.iterdir()) == [path]


def test_only_an_own_kind_is_replaced(tmp_path):
    path, other = tmp_path / "a.bin", tmp_path / "b.bin"
    for content in (b"", b"plain", b"plain, of an older version"):
        path.write_bytes(content)
        write(path, b"plain, new")
        assert path.read_bytes() == b"plain, new"
    other.write_bytes(b"notes")
    for name in (other, tmp_path / "link"):
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(other)
        with pytest.raises(PipelineError, match="a free name or plain text of this program expect"):
            write(name)
        assert other.read_bytes() == b"notes"
    write(tmp_path / "link", overwrite=True)
    assert other.read_bytes() == b"plain"


def test_what_comes_there_during_the_work_is_kept(tmp_path):
    path = tmp_path / "a.bin"

    def work():
        with replacing(path, PLAIN) as partial:
            partial.write_bytes(b"plain")
            path.write_bytes(b"notes")

    with pytest.raises(PipelineError, match="got another file"):
        work()
    assert path.read_bytes() == b"notes"
    assert list(tmp_path.iterdir()) == [path]


def test_files_with_names_like_ours_are_left_alone(tmp_path):
    path, victim = tmp_path / "a.bin", tmp_path / "victim"
    victim.write_bytes(b"victim")
    own = ["a.bin.partial", ".a.bin.partial", ".a.bin.notes.partial", ".a.bin.probe", "a.bin.lock"]
    for name in own:
        (tmp_path / name).symlink_to(victim)
    check_writable(path)
    write(path)
    assert {file.name for file in tmp_path.iterdir()} == {*own, "a.bin", "victim"}
    assert victim.read_bytes() == b"victim"
    (tmp_path / ".a.bin.lock").symlink_to(victim)  # what another may put there refuses, at most
    with pytest.raises(PipelineError, match="symbolic links"):
        write(path)
    assert victim.read_bytes() == b"victim"


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_followed_and_stays(tmp_path, exists):
    (tmp_path / "store").mkdir()
    target, link = tmp_path / "store" / "real.bin", tmp_path / "link.bin"
    if exists:
        target.write_bytes(b"plain, old")
    link.symlink_to(target)
    check_writable(link)
    with replacing(link, PLAIN) as partial:
        assert partial.parent == target.parent  # a rename between file systems is a copy
        partial.write_bytes(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]


def test_a_block_that_fails_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"plain, old")

    def fail():
        with replacing(path, PLAIN) as partial:
            partial.write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"plain, old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_goes_with_the_next(tmp_path):
    path, other = tmp_path / "a.bin", tmp_path / "b.bin"
    killed = (
        "import os, signal, sys, pathlib\n"
        "from marr_pipeline.files import ROWS, replacing\n"
        "with replacing(pathlib.Path(sys.argv[1]), ROWS): os.kill(os.getpid(), signal.SIGKILL)"
    )
    for name in (path, path, other):
        subprocess.run([sys.executable, "-c", killed, name], check=False)
    left = sorted(file.name for file in tmp_path.iterdir())
    assert len(left) == 4  # the second took what the first had left
    (tmp_path / ".a.bin.0123abcd.partial.lock").touch()  # of an older version
    write(path)
    assert {file.name for file in tmp_path.iterdir()} == {"a.bin", *left[2:]}


def test_others_may_read_it_as_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "a.bin", PLAIN) as partial:
        partial.write_bytes(b"x")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize("name", ["missing/a.bin", "file/a.bin"])
def test_a_folder_that_is_none_is_said_by_the_name_that_was_given(tmp_path, name):
    (tmp_path / "file").touch()
    with (
        pytest.raises(PipelineError, match=f"{name}: a file in a writable folder"),
        replacing(tmp_path / name, PLAIN),
    ):
        pass
    with pytest.raises(
        PipelineError, match="create the folder, make room or choose another output"
    ):
        check_writable(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes")
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_file_is_never_replaced(tmp_path, overwrite):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    expected = {"pipe": "a device or a pipe", "loop": "a link to itself", "folder": "add a name"}
    for name, refusal in expected.items():
        for refuse in (check_replaceable, write):
            given = (PLAIN,) if refuse is check_replaceable else ()
            with pytest.raises(PipelineError, match=refusal):
                refuse(tmp_path / name, *given, overwrite=overwrite)
    assert (tmp_path / "pipe").is_fifo()
    assert {file.name for file in tmp_path.iterdir()} == set(expected)
