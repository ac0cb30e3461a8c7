"""Damage every kind of input file, run a command on it, and hold what comes to the contract.

    python tests/faults/malformed_inputs.py [KIND ...] [--cases N] [--seed S] [--keep DIR]

Each case is a file whose bytes or whose content `damage` has changed, and a command that reads it,
in a process of its own whose address space ends 2 GB above what is loaded. What must hold:

1. the command ends by itself, with exit code 0, 2, 3 or 4, or with 1 for an output that is kept;
2. unless that is 0 or 4, stderr holds one line that begins with `error:` or `Error:`, and it is the
   last one; no traceback, no other program's warning, no escape sequence;
3. no code in the file is run;
4. unless the code is 0 or 4, the folder is as it was.

Case I of a kind is the same in every run of one seed. Needs Linux.
"""

import argparse
import gc
import importlib
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from damage import CANARY, damaged

from marr_pipeline.cli import COMMANDS, MODULES
from marr_pipeline.cli import main as run_product

ROOM = 2 << 30
"""Bytes of address space that a command may take."""
SECONDS = 60
CONTRACT = (0, 2, 3, 4)


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        codec: that takes its content apart, of `damage.CODECS`.
        content: of a file that is right.
        name: of the damaged file.
        commands: that read it.
        beside: other files that a command finds there, by name.
    """

    codec: str
    content: bytes
    name: str
    commands: tuple[tuple[str, ...], ...]
    beside: tuple[tuple[str, bytes], ...] = ()


def run_command(arguments: Sequence[str], folder: Path, log: Path) -> int:
    """The exit code of a command in a process of its own; of one that a signal ended, negative."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            os.chdir(folder)
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * os.sysconf("SC_PAGE_SIZE") + ROOM
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
            run_product(list(arguments))
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def faults_of(code: int, said: str, added: list[str]) -> list[str]:
    """What does not hold of a command that ended so."""
    # A damaged checkpoint under the name of an output may be known as none.
    is_kept = code == 1 and "choose another name, or give --overwrite to lose that file" in said
    found = [] if code in CONTRACT or is_kept else [f"exit code {code}"]
    lines = said.splitlines()
    errors = [line for line in lines if line.startswith(("error:", "Error:"))]
    if code not in (0, 4) and (len(errors) != 1 or lines[-1] not in errors):
        found.append(f"{len(errors)} lines of error")
    for sign in ("Traceback", "run again with --debug", "site-packages", "Warning:", "\x1b"):
        if sign in said:
            found.append(f"stderr holds {sign!r}")
    if CANARY in added:
        found.append("code was run")
    if added and code not in (0, 4):
        found.append(f"left {', '.join(added)}")
    return found


def make_kinds(inputs: Path) -> dict[str, Kind]:
    """Every kind of file, from files that the commands themselves have written."""

    def run(*arguments: str) -> None:
        code = run_command(arguments, inputs, inputs / "log")
        assert code in (0, 4), (arguments, (inputs / "log").read_text())

    def of(name: str) -> bytes:
        return (inputs / name).read_bytes()

    rng = np.random.default_rng(0)
    names = ["cat", "dog", "owl", "yak"]
    weight, bias = rng.standard_normal((4, 6)).astype(np.float32), np.zeros(4, np.float32)
    rows: dict[str, dict[str, Any]] = {}
    for name, num_rows in (("train", 90), ("test", 40)):
        features = rng.standard_normal((num_rows, 6)).astype(np.float32)
        labels = np.minimum(np.arange(num_rows) % 7, 3)
        ids = np.array([f"{name}/{row}.png" for row in range(num_rows)])
        rows[name] = {"logits": features @ weight.T, "features": features, "labels": labels}
        np.savez(inputs / f"{name}.npz", ids=ids, **rows[name])
    np.savez(inputs / "head.npz", weight=weight, bias=bias, class_names=np.array(names))
    arrays = {key: torch.from_numpy(value) for key, value in rows["train"].items()}
    torch.save({**arrays, "ids": list(range(90))}, inputs / "train.pt")
    torch.save(
        {
            "state_dict": {"fc.weight": torch.from_numpy(weight), "fc.bias": torch.zeros(4)},
            "epoch": 3,
        },
        inputs / "head.pt",
    )
    safetensors.torch.save_file(arrays, inputs / "train.safetensors")
    np.save(inputs / "logits.npy", rows["train"]["logits"])
    np.save(inputs / "labels.npy", rows["train"]["labels"])
    lines = [",".join(["id", "label", *names])]
    for row, (label, scores) in enumerate(
        zip(rows["train"]["labels"], rows["train"]["logits"], strict=True)
    ):
        lines.append(",".join([f"{row}.png", names[label], *(f"{score:.4f}" for score in scores)]))
    (inputs / "train.csv").write_text("\n".join(lines))
    from pyarrow import parquet, table

    columns = {"label": [names[label] for label in rows["train"]["labels"]]}
    columns |= dict(zip(names, rows["train"]["logits"].T, strict=True))
    parquet.write_table(table(columns), inputs / "train.parquet")
    here = str(inputs)
    test, cache = ("--test", f"{here}/test.npz"), f"{here}/c.h5"
    run("import", "--train", "train.npz", *test, "--head", "head.npz", "-o", "c.h5")
    for method in ("marr", "head", "disalign"):
        run("rectify", "c.h5", "--method", method, "-o", f"{method}.safetensors")
    run("sweep", "c.h5", "--gamma", "0:1:0.5", "-o", "sweep.csv")
    training = ("train", "--dataset", "digits-lt", "--iterations", "3", "--batch-size", "32")
    run(*training, "--seed", "1", "-o", "whole.pt")
    content = torch.load(inputs / "whole.pt", weights_only=True)
    torch.save({**content, "finished": False, "step": 2}, inputs / "begun.pt")
    torch.save({"model": content["model"], "epoch": 2}, inputs / "theirs.pt")
    run(
        "extract",
        "--dataset",
        "digits-lt",
        "--checkpoint",
        "whole.pt",
        "--views",
        "1",
        "-o",
        "d.h5",
    )
    run("rectify", "d.h5", "-o", "d.safetensors")

    reading = (
        ("inspect", "x.safetensors"),
        ("evaluate", cache, "x.safetensors"),
        ("apply", f"{here}/test.npz", "x.safetensors", "-o", "out.npz"),
        (
            "rectify",
            cache,
            "--method",
            "head",
            "--center",
            "x.safetensors",
            "-o",
            "out.safetensors",
        ),
        ("apply", cache, "x.safetensors", "--target-prior", "estimate", "-o", "out.csv"),
    )

    showing = (
        ("compare", cache, "x.safetensors", "--methods", "softmax"),
        ("report", cache, "x.safetensors", "-o", "out.html"),
        ("plot", "gamma", cache, "x.safetensors", "-o", "out.png"),
        ("plot", "parameters", cache, "x.safetensors", "-o", "out.png"),
    )

    def importing(*given: str) -> tuple[tuple[str, ...], ...]:
        return (("import", *given, "-o", "out.h5"),)

    from_npz = ("--train", f"{here}/train.npz")
    extracting = ("extract", "--dataset", "digits-lt", "--views", "0", "--checkpoint", "x.pt")
    tail = ("--iterations", "3", "--batch-size", "32", "--seed", "1", "-o", "x.pt")
    resuming = (("train", "--dataset", "digits-lt", *tail),)
    prior = {"class_counts": [30, 20, 10, 5], "prior_counts": [4, 3, 2, 1]}
    np.savez(inputs / "prior.npz", class_counts=np.array(prior["class_counts"]))
    np.save(inputs / "prior.npy", np.array([0.4, 0.3, 0.2, 0.1]))

    def scoring(name: str) -> tuple[tuple[str, ...], ...]:
        marr = f"{here}/marr.safetensors"
        return (
            ("evaluate", cache, "--class-distribution", name),
            ("evaluate", cache, marr, "--target-prior", name),
            ("apply", cache, marr, "--match-prior", name, "-o", "out.npz"),
        )

    config = {
        "gamma": 0.5,
        "l2": 0.01,
        "method": "marr",
        "json": True,
        "groups": "20,10",
        "tune": "off",
        "rectify": {"optimizer": "lbfgs", "tolerance": 1e-6, "mute": ["R06"]},
    }
    return {
        "rectifier": Kind(
            "safetensors", of("marr.safetensors"), "x.safetensors", reading[:3] + reading[4:]
        ),
        "rectifier-head": Kind(
            "safetensors",
            of("head.safetensors"),
            "x.safetensors",
            (*reading[:4], *importing(*from_npz, "--head", "x.safetensors")),
        ),
        "rectifier-shown": Kind("safetensors", of("marr.safetensors"), "x.safetensors", showing),
        "sweep": Kind(
            "csv",
            of("sweep.csv"),
            "x.csv",
            (("plot", "gamma", cache, "--sweep", "x.csv", "-o", "out.png"),),
        ),
        "rectifier-confidence": Kind(
            "safetensors", of("disalign.safetensors"), "x.safetensors", reading[:3]
        ),
        "npz": Kind(
            "npz",
            of("train.npz"),
            "x.npz",
            (
                *importing("--train", "x.npz", *test),
                ("apply", "x.npz", f"{here}/marr.safetensors", "-o", "out.npz"),
            ),
        ),
        "npz-head": Kind("npz", of("head.npz"), "x.npz", importing(*from_npz, "--head", "x.npz")),
        "npy": Kind(
            "npy",
            of("logits.npy"),
            "x.npy",
            importing("--train", "x.npy", "--train-labels", f"{here}/labels.npy", *test),
        ),
        "npy-labels": Kind(
            "npy",
            of("labels.npy"),
            "x.npy",
            importing("--train", f"{here}/logits.npy", "--train-labels", "x.npy", *test),
        ),
        "torch": Kind("torch", of("train.pt"), "x.pt", importing("--train", "x.pt", *test)),
        "torch-head": Kind("torch", of("head.pt"), "x.pt", importing(*from_npz, "--head", "x.pt")),
        "safetensors": Kind(
            "safetensors",
            of("train.safetensors"),
            "x.safetensors",
            importing("--train", "x.safetensors", *test),
        ),
        "csv": Kind("csv", of("train.csv"), "x.csv", importing("--train", "x.csv")),
        "parquet": Kind(
            "parquet", of("train.parquet"), "x.parquet", importing("--train", "x.parquet")
        ),
        "prior-json": Kind("json", json.dumps(prior).encode(), "x.json", scoring("x.json")),
        "prior-names": Kind(
            "json",
            json.dumps(dict(zip(names, [4, 3, 2, 1], strict=True))).encode(),
            "x.json",
            scoring("x.json"),
        ),
        "prior-csv": Kind(
            "csv", b"class,share\ncat,0.4\ndog,0.3\nowl,0.2\nyak,0.1\n", "x.csv", scoring("x.csv")
        ),
        "prior-text": Kind("csv", b"0.4,0.3,0.2,0.1\n", "x.txt", scoring("x.txt")),
        "prior-npz": Kind("npz", of("prior.npz"), "x.npz", scoring("x.npz")),
        "prior-npy": Kind("npy", of("prior.npy"), "x.npy", scoring("x.npy")),
        "checkpoint": Kind(
            "torch",
            of("whole.pt"),
            "x.pt",
            (
                (*extracting, "--dry-run", "-o", "out.h5"),
                (*extracting, "--dry-run", "-o", "out.h5"),
                (
                    "export",
                    "--cache",
                    f"{here}/d.h5",
                    "--checkpoint",
                    "x.pt",
                    "--rectifier",
                    f"{here}/d.safetensors",
                    "-o",
                    "out.pt",
                ),
            ),
        ),
        "checkpoint-begun": Kind("torch", of("begun.pt"), "x.pt", resuming),
        "checkpoint-foreign": Kind(
            "torch",
            of("theirs.pt"),
            "x.pt",
            (
                (*extracting, "--backbone", "resnet8", "--dry-run", "-o", "out.h5"),
                (
                    "train",
                    "--dataset",
                    "digits-lt",
                    "--checkpoint",
                    "x.pt",
                    "--backbone",
                    "resnet8",
                    "--dry-run",
                    "-o",
                    "out.pt",
                ),
            ),
        ),
        "metrics": Kind(
            "lines",
            of("whole.pt.metrics.jsonl"),
            "x.pt.metrics.jsonl",
            resuming,
            (("x.pt", of("begun.pt")),),
        ),
        "config": Kind(
            "toml",
            json.dumps(config).encode(),
            "x.toml",
            (
                ("rectify", cache, "--config", "x.toml"),
                ("rectify", cache, "--config", "x.toml", "-o", "out.safetensors"),
            ),
        ),
        "list": Kind(
            "csv",
            b"path,label,name\na.png,0,cat\nb.png,1,dog\nc.png,2,owl\n",
            "x.csv",
            (
                (
                    "train",
                    "--dataset",
                    "list",
                    "--data-root",
                    here,
                    "--list-train",
                    "x.csv",
                    "--list-test",
                    "x.csv",
                    "--dry-run",
                    "-o",
                    "out.pt",
                ),
            ),
        ),
    }


def try_kind(
    name: str, kind: Kind, base: Path, *, cases: range, seed: int, keep: Path | None
) -> dict[str, Any]:
    """What came of so many damaged files of a kind."""
    found: dict[str, Any] = {"kind": name, "cases": 0, "codes": Counter(), "faults": []}
    log = base / "log"
    begin = time.perf_counter()
    for case in cases:
        rng = random.Random(f"{seed} {name} {case}")  # no secret
        command = kind.commands[case % len(kind.commands)]
        content = damaged(rng, kind.codec, kind.content)
        folder = base / "case"
        folder.mkdir()
        for beside, bytes_ in ((kind.name, content), *kind.beside):
            (folder / beside).write_bytes(bytes_)
        before = {path.name for path in folder.iterdir()}
        started = time.perf_counter()
        code = run_command(command, folder, log)
        said = log.read_text(errors="replace")
        added = sorted(
            {path.name for path in folder.iterdir()} - before - {f"{kind.name}.metrics.jsonl"}
        )
        faults = faults_of(code, said, added)
        if time.perf_counter() - started > SECONDS:
            faults.append("too slow")
        if faults:
            found["faults"].append(
                f"case {case}: {command[0]}: {'; '.join(faults)}: {said[-400:].strip()!r}"
            )
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{name}.{case}.{kind.name}").write_bytes(content)
        found["cases"] += 1
        found["codes"][code] += 1
        shutil.rmtree(folder)
    found["seconds"] = round(time.perf_counter() - begin, 1)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", help="Which; all of them without one.")
    parser.add_argument("--cases", type=int, default=100, help="Of each kind.")
    parser.add_argument("--first", type=int, default=0, help="Number of the first case.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="Folder for the files of faults.")
    asked = parser.parse_args()
    for name in COMMANDS:  # loaded before the forks
        module = MODULES.get(name, name)
        importlib.import_module(f"marr_pipeline.cli.{module}")
        if module not in ("doctor", "demo"):
            importlib.import_module(f"marr_pipeline.workflows.{module}")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of torch, of the odd tensors that are made here
    failures = 0
    with tempfile.TemporaryDirectory() as made:
        base = Path(made).resolve()
        (base / "inputs").mkdir()
        kinds = make_kinds(base / "inputs")
        gc.freeze()
        cases = range(asked.first, asked.first + asked.cases)
        for name in asked.kinds or kinds:
            found = try_kind(name, kinds[name], base, cases=cases, seed=asked.seed, keep=asked.keep)
            failures += len(found["faults"])
            print(json.dumps(found), flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
