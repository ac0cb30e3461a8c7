"""Run the cases through the command line and record what they say, return and leave.

PYTHONPATH=tests python -m golden.record [--only GLOB] [-o FILE]
"""

import csv
import hashlib
import io
import json
import os
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import pytest
import torch
from golden.cases import CASES
from golden.inputs import INPUTS
from safetensors import safe_open

from marr_pipeline.cli import main
from marr_pipeline.rectify.rows.kernel import VARIABLE

WAY = os.environ.get(VARIABLE, "torch")
"""Of passes: torch's, as they were recorded, unless the environment says another."""
RECORD = Path(__file__).with_name("record.json")
DIGITS, HEAD_DIGITS = 12, 6
"""Significant digits of a recorded number, and of a fitted head, which is compared more loosely."""
SHOWN_ROWS, WHOLE_NUMBERS, WHOLE_STRINGS = 3, 500, 50
"""Rows of a large array that are recorded, and the largest arrays that are recorded whole."""
UNSTABLE = re.compile(r"seconds\w*|bytes|versions|creator|created_utc|(?!format|schema).+_version")
"""Keys and columns whose values depend on the clock, on libraries or on the release."""
UNSTABLE_LINE = re.compile(r".*\(\d[\d,]* bytes\)$|(creator|created_utc|(?!format)\w+_version) .*")
ENDINGS = r"closed\W?.form|converged|schedule\W?.end|step\W?.limit|unbounded"
SECONDS = re.compile(rf"\d+\.\d\d( ± \d+\.\d\d)?(?=[ |&]+({ENDINGS}))")
SAID = ("error:", "Error:", "warning:")


def record_case(name: str) -> dict[str, Any]:
    """What each command of a case says and returns, and what stands in its folder at the end."""
    commands = CASES[name]
    with tempfile.TemporaryDirectory() as folder, chdir(folder), one_thread():
        given = write_inputs(commands)
        runs = [record_command(command) for command in commands]
        made = sorted(path for path in Path().rglob("*") if path.is_file() and path not in given)
        files = {str(path): record_file(path) for path in made}
        return replaced({"commands": runs, "files": files}, str(Path(folder).resolve()))


def write_inputs(commands: tuple[str, ...]) -> set[Path]:
    """Write the inputs that are named in a case; returns all files."""
    words = {word.split("/")[0] for command in commands for word in shlex.split(command)}
    for name in sorted(words & INPUTS.keys()):
        INPUTS[name](Path(name))
    return set(Path().rglob("*"))


@contextmanager
def one_thread() -> Iterator[None]:
    """How rounding errors add up depends on the number of threads and on the way of a pass."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(VARIABLE, WAY)
            yield
    finally:
        torch.set_num_threads(before)


def record_command(command: str) -> dict[str, Any]:
    out, err = io.StringIO(), io.StringIO()
    code: Any = None
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(shlex.split(command))
        except SystemExit as stop:
            code = stop.code
    said = [line for line in err.getvalue().splitlines() if line.startswith(SAID)]
    return {"run": command, "code": code, "said": said, "out": record_text(out.getvalue())}


def record_text(text: str) -> Any:
    """A JSON document as such, or lines."""
    if text.startswith("{"):
        return stable(json.loads(text))
    lines = [line.rstrip() for line in text.splitlines() if not UNSTABLE_LINE.fullmatch(line)]
    return [SECONDS.sub("SECONDS", line) for line in lines]


def record_file(path: Path) -> Any:
    """What a file holds, for the kinds whose contents are a promise."""
    if path.suffix == ".safetensors":
        return record_rectifier(path)
    if path.suffix == ".npz":
        with np.load(path) as content:
            arrays = {name: content[name] for name in content.files}
        if "predictions" in arrays:
            arrays["probabilities"] = softmax(arrays["logits"].astype(np.float64))
        return {name: record_array(array) for name, array in arrays.items()}
    if path.suffix == ".csv":
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
        return stable({key: record_array(numbers(column)) for key, column in columns.items()})
    return path.suffix


def record_rectifier(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="np") as file:
        header = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    kinds = {name: header.pop(name) for name in ("format", "format_version")}
    settings = {key: json.loads(header[key]) for key in sorted(header)}
    is_fitted_head = "weight" in tensors and settings["status"] != "closed_form"
    digits = HEAD_DIGITS if is_fitted_head else DIGITS
    values = {name: stable(tensor.tolist(), digits) for name, tensor in tensors.items()}
    return {**kinds, "header": stable(settings), "tensors": values}


def record_array(array: npt.NDArray[Any]) -> Any:
    """A small array whole; of a large one a digest, or sums and some rows of numbers."""
    if array.dtype.kind == "U" and array.ndim == 0:
        return stable(json.loads(str(array)))
    shape = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if array.size <= (WHOLE_STRINGS if array.dtype.kind == "U" else WHOLE_NUMBERS):
        return {**shape, "values": stable(array.tolist())}
    if array.dtype.kind != "f":
        return {**shape, "sha256": hashlib.sha256(array.tobytes()).hexdigest()}
    rows = array.astype(np.float64).reshape(-1, array.shape[-1] if array.ndim > 1 else 1)
    shown = np.linspace(0, len(rows) - 1, SHOWN_ROWS).astype(int)
    sums = {"sum": float(rows.sum()), "norm": float(np.linalg.norm(rows))}
    return {**shape, **stable({**sums, "rows": rows[shown].tolist()})}


def softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    likelihoods = np.exp(logits - logits.max(-1, keepdims=True))
    return likelihoods / likelihoods.sum(-1, keepdims=True)


def numbers(column: npt.NDArray[np.str_]) -> npt.NDArray[Any]:
    """A column of a table as numbers if it has nothing else."""
    try:
        return column.astype(np.float64)
    except ValueError:
        return column


def stable(value: Any, digits: int = DIGITS) -> Any:
    """Without what changes from run to run, numbers to as many digits as are compared."""
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if not UNSTABLE.fullmatch(key)}
        return {key: stable(item, digits) for key, item in kept.items()}
    if isinstance(value, list):
        return [stable(item, digits) for item in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def replaced(value: Any, folder: str) -> Any:
    """With a placeholder for the temporary folder."""
    return json.loads(json.dumps(value).replace(folder, "FOLDER"))


def arithmetic() -> str:
    """What decides how rounding errors fall, beside the code."""
    compiled = "" if WAY == "torch" else f", {WAY}"
    return f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}{compiled}"


def dump(record: dict[str, Any]) -> str:
    """JSON with a line for each key, and each list of plain values on one."""
    text = json.dumps(record, indent=1, ensure_ascii=False)
    return re.sub(r"\[[^][{}]*\]", lambda found: re.sub(r"\n *", "", found[0]), text) + "\n"


@click.command()
@click.option("--only", default="*", help="Cases whose names match.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=RECORD, show_default=True)
def cli(only: str, output: Path) -> None:
    """Record the cases."""
    names = [name for name in CASES if fnmatch(name, only)]
    cases = {}
    for done, name in enumerate(names, 1):
        begin = time.perf_counter()
        cases[name] = record_case(name)
        took = time.perf_counter() - begin
        print(f"{done}/{len(names)}  {took:5.2f} s  {name}", file=sys.stderr)
    output.write_text(dump({"arithmetic": arithmetic(), "cases": cases}), encoding="utf-8")


if __name__ == "__main__":
    cli()
