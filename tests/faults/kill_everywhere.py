"""Kill a command before, half-way through and after each of its calls that change a file.

    python tests/faults/kill_everywhere.py [extract train rectify import] [--every N]

A first run of each command counts the calls, see `file_calls`. Then the command is run once for
each moment, in a new folder, and kills itself there with signal 9; of a
write, half-way means that half of its bytes are in the file. What must hold afterwards:

1. a file under the final name is whole: it holds what the undisturbed run wrote;
2. the same command, given again, ends with exit code 0;
3. it leaves what the undisturbed run wrote, and no unfinished file beside it.

Takes some seconds a moment, most of it the second run. Needs `/proc` (Linux).
"""

import argparse
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from file_calls import Watch

from marr_pipeline.cache import open_cache, verify_cache
from marr_pipeline.cli import main as run_product

for _name in ("extract", "train", "rectify", "import_logits"):  # loaded before the forks
    importlib.import_module(f"marr_pipeline.cli.{_name}")
    importlib.import_module(f"marr_pipeline.workflows.{_name}")

MOMENTS = ("before", "half", "after")
# What a killed command may leave beside its finished file: nothing reads it.
HARMLESS = (".lock", ".journal", ".metrics.jsonl")


def run_command(
    arguments: Sequence[str], folder: Path, log: Path, *, call: int = -1, moment: str = "before"
) -> tuple[int, list[tuple[str, bool]]]:
    """Run a command in a process of its own; its exit code and the calls that it made."""
    calls = log.with_suffix(".calls")
    calls.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.chdir(folder)
        watch = Watch(folder, call, moment)
        watch.install()
        code = 1
        try:
            run_product(list(arguments))
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            calls.write_text(json.dumps(watch.seen))
            sys.stdout.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code, json.loads(calls.read_text()) if calls.exists() else []


def same_cache(one: Path, other: Path) -> bool:
    """The same rows and the same source, nothing damaged."""
    ours, theirs = open_cache(one), open_cache(other)
    return (
        verify_cache(one) == []
        and ours.fingerprint == theirs.fingerprint
        and ours.splits.keys() == theirs.splits.keys()
        and all(
            np.array_equal(getattr(ours.split(name), rows), getattr(theirs.split(name), rows))
            for name in ours.splits
            for rows in ("logits", "features", "labels")
        )
    )


def same_tensors(one: Path, other: Path) -> bool:
    """The same tensors bit by bit; times and paths stored beside them may differ."""
    ours, theirs = dict(_tensors(_load(one))), dict(_tensors(_load(other)))
    return ours.keys() == theirs.keys() and all(
        torch.equal(tensor, theirs[name]) for name, tensor in ours.items()
    )


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    return torch.load(path, weights_only=True)


def _tensors(content: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(content, torch.Tensor):
        yield name, content
    elif isinstance(content, dict | list | tuple):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in items:
            yield from _tensors(value, f"{name}.{key}")


@dataclass(frozen=True)
class Command:
    """What is run, the name of what it makes, and how two of those are compared."""

    arguments: tuple[str, ...]
    output: str
    is_same: Callable[[Path, Path], bool]


def make_commands(inputs: Path) -> dict[str, Command]:
    """The commands, and in `inputs` what they need."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((4, 6)).astype(np.float32)
    for name, rows in (("train", 90), ("test", 40)):
        features = rng.standard_normal((rows, 6)).astype(np.float32)
        labels = np.arange(rows) % 4
        ids = [f"{name}/{row}.png" for row in range(rows)]
        logits = features @ weight.T
        path = inputs / f"{name}.npz"
        np.savez(path, logits=logits, features=features, labels=labels, ids=np.array(ids))
    np.savez(inputs / "head.npz", weight=weight)
    train, test, head = (str(inputs / f"{name}.npz") for name in ("train", "test", "head"))
    importing = ("import", "--train", train, "--test", test, "--head", head, "--overwrite", "-o")
    training = ("train", "--dataset", "digits-lt", "--iterations", "5", "--batch-size", "32", "-o")
    for arguments in ((*importing, "c.h5"), (*training, "c.pt")):
        code, _ = run_command(arguments, inputs, inputs / "log")
        assert code == 0, (inputs / "log").read_text()
    extracting = ("extract", "--dataset", "digits-lt", "--checkpoint", str(inputs / "c.pt"))
    rectifying = ("rectify", str(inputs / "c.h5"), "-o")
    return {
        "extract": Command((*extracting, "--views", "1", "-o", "x.h5"), "x.h5", same_cache),
        "train": Command((*training, "x.pt"), "x.pt", same_tensors),
        "rectify": Command((*rectifying, "x.safetensors"), "x.safetensors", same_tensors),
        "import": Command((*importing, "x.h5"), "x.h5", same_cache),
    }


def kill_everywhere(name: str, command: Command, base: Path, *, every: int = 1) -> dict[str, Any]:
    """Kill a command at each of its moments, or every so many; what came of it.

    Returns:
        Numbers of calls and kills, and a line for each wrong file, each second run that failed or
        ended with another result, and each kill that was not reached.
    """
    log, whole = base / "log", base / "whole"
    whole.mkdir()
    code, calls = run_command(command.arguments, whole, log)
    assert code == 0, log.read_text()
    reference = whole / command.output
    moments = [
        (call, moment)
        for call, (_, has_half) in enumerate(calls)
        for moment in MOMENTS
        if has_half or moment != "half"
    ][::every]
    found: dict[str, Any] = {"command": name, "calls": len(calls), "kills": 0}
    found |= {"wrong": [], "not_finished": [], "different": [], "not_reached": []}
    for call, moment in moments:
        said = f"{moment} call {call} ({calls[call][0]})"
        folder = base / "killed"
        folder.mkdir()
        code, _ = run_command(command.arguments, folder, log, call=call, moment=moment)
        if code != -signal.SIGKILL:
            found["not_reached"].append(f"{said}: exit code {code}")
        found["kills"] += code == -signal.SIGKILL
        output = folder / command.output
        if output.exists() and not _is_whole(command, output, reference):
            found["wrong"].append(said)
        code, _ = run_command(command.arguments, folder, log)
        if code != 0:
            found["not_finished"].append(f"{said}: {log.read_text()[-300:]}")
        elif not _is_whole(command, output, reference) or _leftovers(folder, whole):
            found["different"].append(f"{said}: {_leftovers(folder, whole)}")
        shutil.rmtree(folder)
    shutil.rmtree(whole)
    return found


def _is_whole(command: Command, output: Path, reference: Path) -> bool:
    try:
        return command.is_same(output, reference)
    except Exception as error:
        print(f"{output.name}: {error}", file=sys.stderr)  # a file that cannot be read is wrong
        return False


def _leftovers(folder: Path, whole: Path) -> list[str]:
    """Names that the undisturbed run does not leave and that are not harmless."""
    names = {path.name for path in folder.iterdir()} - {path.name for path in whole.iterdir()}
    return sorted(name for name in names if not name.endswith(HARMLESS))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commands", nargs="*", help="Which; all four without one.")
    parser.add_argument("--every", type=int, default=1, help="Only each so many-th moment.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    failures = 0
    with tempfile.TemporaryDirectory() as made:
        base = Path(made).resolve()
        (base / "inputs").mkdir()
        commands = make_commands(base / "inputs")
        for name in asked.commands or commands:
            found = kill_everywhere(name, commands[name], base, every=asked.every)
            failures += sum(len(value) for value in found.values() if isinstance(value, list))
            print(json.dumps(found), flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
