"""Damage a cache anywhere: every command refuses it, or gives the numbers of the sound one.

    python tests/faults/damage_everywhere.py [KIND ...] [--caches N] [--seed S]

bits      one flipped bit, anywhere in the file
bytes     up to 64 bytes in a row that are others, anywhere
ends      the file cut short
numbers   NaN or an infinity in logits or features, with checksums that hold
unsealed  one flipped bit of a file of version 1.0, which no seal guards

Each damaged cache goes through `verify`, `inspect`, `rectify -o`, `evaluate` and `apply -o`, each
in a process of its own. What must hold of every run:

1. exit code 0 and what the sound cache gave, or exit code 3, one line, and no file;
2. `verify` finds every change but those of `numbers`, and in `unsealed` those of unused bytes;
3. it ends within a minute.

A run takes about a tenth of a second, of a file without a seal one. Needs `fork`.
"""

import argparse
import contextlib
import importlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from caches import sum_anew, write_splits

from marr_pipeline.cache import Head, SplitArrays
from marr_pipeline.cli import main as run_product

SECONDS = 60
HUNG = -signal.SIGALRM
CLASSES = 4
UNSEALED = Path(__file__).parents[1] / "cache" / "version-1.0-float16-without-seal.h5"
COMMANDS = {
    "verify": ("verify", "c.h5"),
    "inspect": ("inspect", "c.h5", "--json"),
    "rectify": ("rectify", "c.h5", "-o", "new.safetensors", "--json"),
    "evaluate": ("evaluate", "c.h5", "r.safetensors", "--json"),
    "apply": ("apply", "c.h5", "r.safetensors", "-o", "new.npz"),
}
OUTPUTS = ("new.safetensors", "new.npz")
# Of JSON: times, and the length of the file.
VARIES = re.compile(r'"(seconds|bytes)": [^,}]*')


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, stdout, stderr, and the arrays that it wrote."""

    code: int
    out: str
    err: str
    written: dict[str, bytes]

    def same(self, sound: "Ended") -> bool:
        """Whether it gave what the sound cache did."""
        return self.written == sound.written and VARIES.sub("", self.out) == VARIES.sub(
            "", sound.out
        )

    def refused(self) -> bool:
        """Whether it ended as the contract has it for a damaged input."""
        lines = self.err.splitlines()
        said = bool(lines) and all(line.startswith("error: c.h5") for line in lines)
        return self.code == 3 and said and not self.out and not self.written


def run(arguments: Sequence[str], folder: Path) -> Ended:
    """A command in a process of its own, in a folder."""
    for name in OUTPUTS:
        (folder / name).unlink(missing_ok=True)
    out, err = folder / "out", folder / "err"
    pid = os.fork()
    if pid == 0:
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.chdir(folder)
        signal.alarm(SECONDS)
        code = 70
        try:
            run_product(list(arguments))
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    written = {}
    for path in (folder / name for name in OUTPUTS):
        if path.exists():
            written[path.name] = arrays_of(path)
    return Ended(code, out.read_text(), err.read_text(), written)


def arrays_of(path: Path) -> bytes:
    """What a file holds beside times and paths."""
    if path.suffix == ".npz":
        with np.load(path) as found:
            return b"".join(found[name].tobytes() for name in sorted(found.files))
    content = path.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


def make_sound(path: Path) -> None:
    """A small cache of everything that the format knows."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((CLASSES, 3)).astype(np.float32)

    def split(num_rows: int, *, views: tuple[str, ...]) -> SplitArrays:
        labels = np.arange(num_rows) % CLASSES
        shape = (len(views), num_rows, 3)
        features = weight[labels] + rng.standard_normal(shape, dtype=np.float32)
        ids = [f"{row}.png" for row in range(num_rows)]
        logits = features @ weight.T
        return SplitArrays(logits=logits, features=features, labels=labels, ids=ids, views=views)

    splits = {"train": split(60, views=("clean", "augmented")), "test": split(40, views=("clean",))}
    head = Head.from_linear(weight, np.zeros(CLASSES, np.float32), np.array([30, 15, 10, 5]))
    write_splits(path, splits, head=head, class_counts=np.array([30, 15, 10, 5]))


def flip_bit(content: bytearray, draw: random.Random) -> str:
    """One bit of the file; what was done, in words."""
    bit = draw.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    return f"bit {bit}"


def change_bytes(content: bytearray, draw: random.Random) -> str:
    """Up to 64 bytes in a row, at least one of them another."""
    size = draw.randint(1, 64)
    start = draw.randrange(len(content) - size)
    new = bytes(draw.randrange(256) for _ in range(size - 1))
    content[start : start + size] = new + bytes([content[start + size - 1] ^ 0xFF])
    return f"bytes {start}..{start + size}"


def cut_end(content: bytearray, draw: random.Random) -> str:
    """From anywhere on, a fifth of them within the last 300 bytes, where the seal lies."""
    least = len(content) - 300 if draw.random() < 0.2 else 0
    end = draw.randrange(least, len(content))
    del content[end:]
    return f"cut at {end}"


def spoil_number(path: Path, draw: random.Random) -> str:
    """A number that is none, as another program may write it."""
    name = f"splits/{draw.choice(('train', 'test'))}/{draw.choice(('logits', 'features'))}"
    value = draw.choice((np.nan, np.inf, -np.inf))
    with h5py.File(path, "r+") as file:
        place = tuple(draw.randrange(size) for size in file[name].shape)
        file[name][place] = value
    sum_anew(path)
    return f"{value} at {place} of {name}"


CHANGES: dict[str, Callable[[bytearray, random.Random], str] | None] = {
    "bits": flip_bit,
    "bytes": change_bytes,
    "ends": cut_end,
    "numbers": None,
    "unsealed": flip_bit,
}
MUST_BE_SEEN = ("bits", "bytes", "ends")


@dataclass(frozen=True)
class Sound:
    """A folder with a sound cache and a rectifier of it, and how every command ends there."""

    folder: Path
    content: bytes
    ended: dict[str, Ended]

    @classmethod
    def made(cls, folder: Path, *, is_sealed: bool) -> "Sound":
        """The cache, fitted, and every command run once."""
        folder.mkdir()
        cache = folder / "c.h5"
        make_sound(cache) if is_sealed else shutil.copy(UNSEALED, cache)
        done = run(("rectify", "c.h5", "-o", "new.safetensors"), folder)
        assert done.code == 0, done.err
        (folder / "new.safetensors").rename(folder / "r.safetensors")
        ended = {name: run(arguments, folder) for name, arguments in COMMANDS.items()}
        assert all(one.code == 0 for one in ended.values()), ended
        return cls(folder, cache.read_bytes(), ended)


def damage_everywhere(kind: str, sound: Sound, *, num_caches: int, seed: int) -> dict[str, Any]:
    """Damage so many caches; what came of it.

    Returns:
        Numbers of caches, of runs, of those refused and of those that gave the sound one's numbers;
        and a line for each run that gave others, ended otherwise, hung, or of `verify` saw nothing.
    """
    draw, change = random.Random(f"{kind} {seed}"), CHANGES[kind]
    folder, content = sound.folder, sound.content
    cache = folder / "c.h5"
    found: dict[str, Any] = {"kind": kind, "caches": num_caches, "runs": 0, "refused": 0, "same": 0}
    found |= {"wrong": [], "not_the_contract": [], "hung": [], "unseen": []}
    for _ in range(num_caches):
        if change is None:
            cache.write_bytes(content)
            said = spoil_number(cache, draw)
        else:
            damaged = bytearray(content)
            said = change(damaged, draw)
            cache.write_bytes(damaged)
        for name, arguments in COMMANDS.items():
            ended = run(arguments, folder)
            found["runs"] += 1
            if name == "verify" and ended.code == 0 and kind in MUST_BE_SEEN:
                found["unseen"].append(said)
            elif ended.refused():
                found["refused"] += 1
            elif ended.code == 0 and (name == "verify" or ended.same(sound.ended[name])):
                found["same"] += 1
            else:
                fault = {0: "wrong", HUNG: "hung"}.get(ended.code, "not_the_contract")
                found[fault].append(f"{said}: {name} {ended.code}: {ended.err[-300:]}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", help="Which; all five without one.")
    parser.add_argument("--caches", type=int, default=100, help="Damaged ones of each kind.")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    for name in ("verify", "inspect", "rectify", "evaluate", "apply"):  # loaded before the forks
        importlib.import_module(f"marr_pipeline.cli.{name}")
        importlib.import_module(f"marr_pipeline.workflows.{name}")
    torch.set_num_threads(1)
    failures = 0
    with tempfile.TemporaryDirectory() as made:
        kinds: dict[bool, Sound] = {}
        for kind in asked.kinds or CHANGES:
            is_sealed = kind != "unsealed"
            if is_sealed not in kinds:
                kinds[is_sealed] = Sound.made(Path(made) / kind, is_sealed=is_sealed)
            sound = kinds[is_sealed]
            found = damage_everywhere(kind, sound, num_caches=asked.caches, seed=asked.seed)
            failures += sum(len(value) for value in found.values() if isinstance(value, list))
            print(json.dumps(found), flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
