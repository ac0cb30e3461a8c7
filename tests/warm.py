"""Real processes of the program, and of scripts, that start at once.

Loading torch takes seconds, and the tests of faults need dozens of processes that can be killed.
So one process loads everything and forks a child for each command, which has its own pid, signals
and exit code.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE = 180.0
"""Seconds; beyond them a command hangs, as one that waits for a process which died at its start."""

SERVER = """
import gc, json, os, runpy, sys, traceback
import sklearn.datasets, torch, torch.distributed
import marr_pipeline.workflows.extract, marr_pipeline.cli.extract
import marr_pipeline.workflows.estimate, marr_pipeline.workflows.train
from marr_pipeline.cli import main

torch.set_num_threads(1)
gc.freeze()  # no collection in a child copies these pages
print("ready", flush=True)
while line := sys.stdin.readline():
    request = json.loads(line)
    if "ended" in request:
        pid, status = os.waitpid(request["ended"], os.WNOHANG)
        print(json.dumps(os.waitstatus_to_exitcode(status) if pid else None), flush=True)
        continue
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor in (1, 2):
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND
        os.dup2(os.open(f"{request['log']}.{descriptor}", flags, 0o600), descriptor)
    os.environ.update(request["environment"])
    code = 0
    try:
        exec(request["prelude"])
        if script := request["script"]:
            sys.argv, sys.path[0] = [script, *request["arguments"]], os.path.dirname(script)
            runpy.run_path(script, run_name="__main__")
        else:
            main(request["arguments"])
    except SystemExit as stop:
        code = stop.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    os._exit(code)  # taking torch apart would take longer than most commands
os._exit(0)
"""


@dataclass
class Command:
    """A command at work, or what it left."""

    pid: int
    log: Path
    server: "WarmProcess"
    code: int | None = None

    @property
    def out(self):
        return Path(f"{self.log}.1").read_text(encoding="utf-8")

    @property
    def err(self):
        return Path(f"{self.log}.2").read_text(encoding="utf-8")

    @property
    def document(self):
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def errors(self):
        """The lines that say an error."""
        return [line for line in self.err.splitlines() if line.startswith("error:")]

    @property
    def error(self):
        """The one line that an error is."""
        assert len(self.errors) == 1, self.err
        return self.errors[0]

    def send(self, number):
        os.kill(self.pid, number)

    def wait(self):
        """The exit code, negative for a signal; its output is whole from here on.

        One that goes on beyond `PATIENCE` is killed and fails the test.
        """
        end = time.monotonic() + PATIENCE
        while self.code is None:
            self.code = self.server.ask({"ended": self.pid})
            if self.code is None and time.monotonic() > end:
                self.send(signal.SIGKILL)
                raise AssertionError(f"no end within {PATIENCE:.0f} s: {self.err}")
            if self.code is None:
                time.sleep(0.005)
        return self.code


class WarmProcess:
    """A loaded process; `close` ends it."""

    def __init__(self, folder):
        self._folder = folder
        self._num_started = 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout.readline() == "ready\n"

    def start(self, *arguments, script=None, environment=None, prelude=""):
        """Start a command.

        Args:
            arguments: of the program or the script.
            script: a file of Python to run in the program's place.
            environment: further variables.
            prelude: Python that the process runs first.
        """
        self._num_started += 1
        log = self._folder / f"command{self._num_started}"
        request = {
            "arguments": [str(argument) for argument in arguments],
            "script": script and str(script),
            "environment": environment or {},
            "prelude": prelude,
            "log": str(log),
        }
        return Command(self.ask(request), log, self)

    def run(self, *arguments, **options):
        """Start a command and wait for its end."""
        command = self.start(*arguments, **options)
        command.wait()
        return command

    def ask(self, request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self):
        self._process.stdin.close()
        assert self._process.wait(timeout=30) == 0
        self._process.stdout.close()


def slow_blocks(seconds):
    """A prelude: every block of rows takes so long, so that there is a middle to hit."""
    return f"""
import time
from marr_pipeline.cache import CacheWriter, PartnerWriter
write_block = PartnerWriter.write_block
def slow_block(self, *arguments, **options):
    time.sleep({seconds})
    write_block(self, *arguments, **options)
CacheWriter.write_block = PartnerWriter.write_block = slow_block
"""


def full_disk(*, after):
    """A prelude: the disk is full after so many writes."""
    return f"""
import errno
pwrite, calls = os.pwrite, []
def full(descriptor, content, offset):
    calls.append(1)
    if len(calls) > {after}:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return pwrite(descriptor, content, offset)
os.pwrite = full
"""


def start_ranks(warm, arguments, *, size, script=None, prelude=lambda rank: ""):
    """Start the command, or the script, in `size` processes, as torchrun does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        warm.start(
            *arguments,
            script=script,
            environment={**place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            prelude=prelude(rank),
        )
        for rank in range(size)
    ]


def run_ranks(warm, arguments, *, size, codes=None, **options):
    """Run the command in `size` processes, which must end with these codes; without any with 0."""
    ranks = start_ranks(warm, arguments, size=size, **options)
    assert [rank.wait() for rank in ranks] == (codes or [0] * size), [rank.err for rank in ranks]
    return ranks


def wait_until(is_so, *, seconds=60.0):
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.0005)
