"""The course of a training as a file: nothing torn, nothing twice, one writer."""

import errno
import fcntl
import json
import os

import pytest

from marr_pipeline.backbone.training.reports import metrics_path, open_metrics
from marr_pipeline.errors import PipelineError


@pytest.fixture
def checkpoint(tmp_path):
    return tmp_path / "a.pt"


def add(checkpoint, steps, *, first=0):
    with open_metrics(checkpoint) as metrics:
        metrics.go_on_from(first)
        for step in steps:
            metrics.add({"step": step, "loss": 1 / step}, seconds=float(step - first))


def entries(checkpoint):
    return [json.loads(line) for line in metrics_path(checkpoint).read_text().splitlines()]


def test_it_stands_beside_the_checkpoint(checkpoint):
    add(checkpoint, [1, 2])
    assert [path.name for path in checkpoint.parent.iterdir()] == ["a.pt.metrics.jsonl"]
    assert entries(checkpoint) == [
        {"step": 1, "loss": 1.0, "seconds": 1.0},
        {"step": 2, "loss": 0.5, "seconds": 2.0},
    ]


@pytest.mark.parametrize(
    "torn",
    [
        *(b'{"step": 3, "lo', b'{"step": 3, "loss": 0.3}', b"\x00\x00\x00", b"[3]\n", b'"step"'),
        *(b"[" * 10**5 + b"\n", b'{"step": 3, "seconds": "x"}\n'),
    ],
)
def test_what_a_crash_has_torn_is_cut_off(checkpoint, torn):
    add(checkpoint, [1, 2])
    with metrics_path(checkpoint).open("ab") as file:
        file.write(torn)
    add(checkpoint, [2, 3, 4], first=1)  # a resumed run tells no step twice
    assert [entry["step"] for entry in entries(checkpoint)] == [1, 2, 3, 4]
    assert [entry["seconds"] for entry in entries(checkpoint)] == [1, 2, 3, 4]


def test_a_full_disk_is_an_error_and_the_whole_lines_stay(checkpoint, monkeypatch):
    write = os.write

    def fills_up(descriptor, line):
        if len(line) > 10:
            return write(descriptor, line[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    add(checkpoint, [1])
    with open_metrics(checkpoint) as metrics:
        monkeypatch.setattr(os, "write", fills_up)
        with pytest.raises(PipelineError, match=r"metrics\.jsonl: .* No space left on device"):
            metrics.add({"step": 2, "loss": 0.123}, seconds=1.0)
    monkeypatch.undo()
    add(checkpoint, [2], first=1)
    assert [entry["step"] for entry in entries(checkpoint)] == [1, 2]


def test_a_file_system_without_locks_is_written_all_the_same(checkpoint, monkeypatch):
    def has_none(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", has_none)
    add(checkpoint, [1])
    assert [entry["step"] for entry in entries(checkpoint)] == [1]


def test_a_number_that_is_not_finite_is_never_written(checkpoint):
    with open_metrics(checkpoint) as metrics, pytest.raises(ValueError, match="not JSON compliant"):
        metrics.add({"step": 1, "loss": float("nan")}, seconds=1.0)
    assert entries(checkpoint) == []
