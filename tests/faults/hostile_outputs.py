r"""Give every command an output, a name or a stream that would cost the user something.

    python tests/faults/hostile_outputs.py [rectify apply ...]

Each fault is a process in a folder of its own. What must hold: a file that is not the command's own
product is not lost, nor is an input even with --overwrite; a device, a pipe and a folder stay what
they are; a link goes on pointing where it does; own products are replaced without a word, and
written whole where a stream is closed. A newline or an order to the terminal in a name comes out
escaped. The last line says of each kind how many were tried and what did not hold.

Needs `/proc` and pipes (Linux). Two writers at once and killed ones: `tests/pipeline/test_files.py`
and `kill_everywhere.py`.
"""

import argparse
import importlib
import json
import os
import re
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from marr_pipeline.cli import COMMANDS as ALL_COMMANDS
from marr_pipeline.cli import MODULES
from marr_pipeline.cli import main as run_product

for _name in ALL_COMMANDS:  # loaded before the forks
    for _room in ("cli", "workflows"):
        importlib.import_module(f"marr_pipeline.{_room}.{MODULES.get(_name, _name)}")

NOTES = b"notes of the user\n"
EVIL = "cat\x1b]0;owned\x07\x1b[2J\x9b1A\nerror: a line\u202e"
"""A class: sets the title, clears the screen, moves up, begins a line, turns the text round."""
ORDER = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")
INPUTS = ("c.h5", "o.h5", "m.safetensors", "rows.npz", "head.npz")


@dataclass(frozen=True)
class Command:
    """Arguments before the output's name, that name, and an input of its own."""

    arguments: tuple[str, ...]
    output: str
    input: str = "c.h5"
    option: str = "-o"


TRAINING = ("--dataset", "digits-lt", "--iterations", "2", "--batch-size", "32")
IMPORT = ("import", "--train", "rows.npz", "--test", "rows.npz", "--head", "head.npz")
COMMANDS = {
    "rectify": Command(("rectify", "c.h5"), "x.safetensors"),
    "apply": Command(("apply", "rows.npz", "m.safetensors"), "x.npz", "rows.npz"),
    "apply .csv": Command(("apply", "c.h5", "m.safetensors"), "x.csv"),
    "evaluate": Command(("evaluate", "c.h5", "m.safetensors"), "x.csv"),
    "compare": Command(("compare", "c.h5", "--methods", "marr"), "x.csv"),
    "compare .tex": Command(("compare", "c.h5", "--methods", "marr"), "x.tex"),
    "sweep": Command(("sweep", "c.h5", "--gamma", "0,1"), "x.csv"),
    "plot": Command(("plot", "confusion", "c.h5", "m.safetensors"), "x.png"),
    "report": Command(("report", "c.h5", "m.safetensors", "--methods", "marr"), "x.html"),
    "views": Command(("views", "--dataset", "digits-lt", "--config", "c.toml"), "x.png", "c.toml"),
    "export": Command(
        ("export", "--rectifier", "m.safetensors", "--cache", "c.h5"), "x.safetensors"
    ),
    "export --torch-export": Command(
        ("export", "--rectifier", "m.safetensors", "--cache", "c.h5"),
        "x.pt2",
        "c.h5",
        "--torch-export",
    ),
    "import": Command(IMPORT, "x.h5", "rows.npz"),
    "combine": Command(("combine", "c.h5", "o.h5", "--weights", "1,1"), "x.h5", "o.h5"),
    "train": Command(("train", *TRAINING, "--config", "c.toml"), "x.pt", "c.toml"),
    "extract": Command(("extract", *TRAINING, "--config", "c.toml"), "x.h5", "c.toml"),
}
KEEPS_CACHES = ("import", "combine")
"""Without --overwrite they replace none at all, their own neither."""


@dataclass
class Trial:
    """A folder with inputs, and what a command did in it."""

    folder: Path
    command: Command
    code: int = 0
    said: str = ""

    @property
    def output(self) -> Path:
        return self.folder / self.command.output

    def run(self, *more: str, closed: tuple[int, ...] = ()) -> "Trial":
        """The command in a process of its own, some of its streams closed."""
        given = [*self.command.arguments, self.command.option, self.command.output, *more]
        self.code, self.said = run_command(given, self.folder, closed=closed)
        return self


def run_command(
    arguments: list[str], folder: Path, *, closed: tuple[int, ...] = ()
) -> tuple[int, str]:
    """Exit code and all that it said."""
    log = folder / ".log"
    pid = os.fork()
    if pid == 0:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(descriptor, number)
        os.close(descriptor)
        os.chdir(folder)
        for number, name in ((1, "stdout"), (2, "stderr")):
            setattr(sys, name, None if number in closed else os.fdopen(number, "w", closefd=False))
            if number in closed:
                os.close(number)
        code = 1
        try:
            run_product(arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    said = log.read_bytes().decode(errors="surrogateescape")
    log.unlink()
    return code, said


def replaces_no_other(trial: Trial) -> Iterator[bool]:
    """A file of the user's, by its name and through a link."""
    for is_link in (False, True):
        victim = trial.folder / "notes" if is_link else trial.output
        victim.write_bytes(NOTES)
        if is_link:
            trial.output.unlink()
            trial.output.symlink_to("notes")
        trial.run()
        yield trial.code == 1 and "--overwrite" in trial.said and victim.read_bytes() == NOTES
        yield trial.output.is_symlink() == is_link


def replaces_no_neighbour(trial: Trial) -> Iterator[bool]:
    """What a figure's numbers, a training's course or a temporary file would be named."""
    beside = {"x.png": ("x.csv",), "x.pt": ("x.pt.metrics.jsonl",)}.get(trial.command.output, ())
    for name in beside:
        (trial.folder / name).write_bytes(NOTES)
        yield trial.run().code == 1 and (trial.folder / name).read_bytes() == NOTES
        (trial.folder / name).unlink()
    victim = trial.folder / "notes"
    victim.write_bytes(NOTES)
    for name in (f"{trial.command.output}.partial", f".{trial.command.output}.probe"):
        (trial.folder / name).symlink_to(victim)
    trial.run()
    yield victim.read_bytes() == NOTES
    yield (trial.code == 0) == trial.output.exists()


def replaces_no_input(trial: Trial) -> Iterator[bool]:
    """A hard link to an input and a link to it, even if it is to be overwritten."""
    given = trial.folder / trial.command.input
    before = given.read_bytes()
    for make in (os.link, os.symlink):
        make(given, trial.output)
        trial.run("--overwrite")
        yield trial.code == 2 and "got an input again" in trial.said
        yield given.read_bytes() == before and trial.output.samefile(given)
        trial.output.unlink()


def replaces_files_alone(trial: Trial) -> Iterator[bool]:
    """A pipe, a folder, a link to a pipe, a link to itself: even if it is to be overwritten."""
    pipe = trial.folder / "pipe"
    os.mkfifo(pipe)
    for make in (os.mkfifo, os.mkdir, _pipe, _loop):
        make(trial.output)
        kind = trial.output.lstat().st_mode
        yield trial.run("--overwrite").code == 1 and trial.output.lstat().st_mode == kind
        yield pipe.is_fifo()
        (os.rmdir if trial.output.is_dir() else os.unlink)(trial.output)


def _pipe(path: Path) -> None:
    path.symlink_to("pipe")


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def replaces_its_own(trial: Trial) -> Iterator[bool]:
    """The same command again, also through a link; and an empty file."""
    yield trial.run().code == 0
    if trial.command.arguments[0] in KEEPS_CACHES:
        yield trial.run().code == 1
        yield trial.run("--overwrite").code == 0
        return
    yield trial.run().code == 0
    trial.output.rename(trial.folder / "real")
    if trial.command.output != "x.png":  # an older figure is known by the numbers of its own name
        trial.output.symlink_to("real")
        yield trial.run().code == 0 and trial.output.is_symlink()


def writes_with_closed_streams(trial: Trial) -> Iterator[bool]:
    """`>&-`, `2>&-` and both: exit code 0, and a file of its own kind."""
    for closed in ((1,), (2,), (1, 2)):
        trial.run("--overwrite", closed=closed)
        yield trial.code == 0 and trial.output.stat().st_size > 0
        yield "wrote" not in trial.output.read_bytes().decode("latin-1")


def escapes_names(trial: Trial) -> Iterator[bool]:
    """Orders to the terminal, and the end of a line, in the names of classes and of files."""
    folder = trial.folder / "a\nerror: b\x1b[2J"
    folder.mkdir()
    for name in INPUTS:
        shutil.copy(trial.folder / "evil" / name, folder / name)
    shutil.copy(trial.folder / "c.toml", folder / "c.toml")
    inner = [
        f"{folder / each}" if each in (*INPUTS, "c.toml") else each
        for each in trial.command.arguments
    ]
    output = folder / trial.command.output
    for more in ([], ["-v"], ["--no-such-option"]):
        code, said = run_command([*inner, trial.command.option, str(output), *more], trial.folder)
        if trial.command.arguments[0] in KEEPS_CACHES:
            output.unlink(missing_ok=True)
        yield code == (2 if more == ["--no-such-option"] else 0)
        yield not ORDER.search(said)
        yield "\nerror: b" not in said and "\nerror: a line" not in said
    if output.suffix == ".html":
        yield not ORDER.search(re.sub(r"<script.*?</script>", "", output.read_text(), flags=re.S))


KINDS: dict[str, Callable[[Trial], Iterator[bool]]] = {
    each.__name__: each
    for each in (
        replaces_no_other,
        replaces_no_neighbour,
        replaces_no_input,
        replaces_files_alone,
        replaces_its_own,
        writes_with_closed_streams,
        escapes_names,
    )
}


def make_inputs(folder: Path, *, names: list[str] | None = None) -> None:
    """Small rows, caches of them and a rectifier."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((4, 6)).astype(np.float32)
    features = rng.standard_normal((90, 6)).astype(np.float32)
    labels = np.repeat(np.arange(4), (45, 25, 15, 5))
    known = {} if names is None else {"class_names": np.array(names)}
    np.savez(folder / "head.npz", weight=weight, **known)
    (folder / "c.toml").touch()
    for name, noise in (("o.h5", 1.0), ("c.h5", 0.0)):
        moved = features + noise * rng.standard_normal((90, 6)).astype(np.float32)
        np.savez(folder / "rows.npz", logits=moved @ weight.T, features=moved, labels=labels)
        code, said = run_command([*IMPORT, "-o", name], folder)
        assert code == 0, said
    code, said = run_command(["rectify", "c.h5", "-o", "m.safetensors"], folder)
    assert code == 0, said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commands", nargs="*", help="Which; all without one.")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), help="Of faults.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory() as made:
        inputs = Path(made).resolve() / "inputs"
        make_inputs(inputs)
        make_inputs(inputs / "evil", names=[EVIL, "dog", "cow", "owl\x1b[31m"])
        for kind in asked.kinds:
            tried, failed = 0, list[str]()
            for name in asked.commands or COMMANDS:
                folder = Path(made).resolve() / "trial"
                shutil.copytree(inputs, folder)
                trial = Trial(folder, COMMANDS[name])
                for place, holds in enumerate(KINDS[kind](trial)):
                    tried += 1
                    if not holds:
                        failed.append(
                            f"{name}, {place}: exit code {trial.code}: {trial.said[-200:]}"
                        )
                shutil.rmtree(folder)
            found[kind] = {"tried": tried, "failed": failed}
            print(json.dumps({kind: found[kind]}), flush=True)
    return 1 if any(each["failed"] for each in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
