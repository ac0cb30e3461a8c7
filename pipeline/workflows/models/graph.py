"""A network or a head as a graph that other programs run: a program of torch.export, or ONNX.

Both take any number of rows N, and are traced once. What they need to know of the input stands in
the file: under `marr` in ONNX's metadata, in the extra file `marr.json` of torch.export's.
"""

import contextlib
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from marr_pipeline.errors import ConfigError, PipelineError, described

ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
KEY = "marr"
_MAX_ONNX_BYTES = 2**31
_EXAMPLES = 2
"""Of one row the traced graph would take one row alone."""

Function = Callable[[Tensor], Tensor]


def check_onnx() -> None:
    """Raise a ConfigError unless the packages of the extra are there."""
    missing = [name for name in ONNX_PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"--onnx: the packages {', '.join(ONNX_PACKAGES)} expected, got no "
            f"{' and no '.join(missing)}; pip install 'marr-pipeline[onnx]'"
        )


def trace(module: nn.Module, rows: Tensor, *, where: str) -> ExportedProgram:
    """The graph of a module in eval mode, for any number of rows.

    Args:
        module: from (N, ...) to (N, K).
        rows: (N, ...) float32, at least two.
        where: how the error names the result.

    Raises:
        PipelineError: torch.export cannot follow the module.
    """
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(
                module.eval(),
                (rows[:_EXAMPLES],),
                dynamic_shapes=({0: Dim("batch")},),
                strict=False,
            )
    except Exception as error:  # a network's own code may fail in any way
        raise PipelineError(
            f"{where}: a network that torch.export follows expected, got one that fails "
            f"({described(error)}); give -o, and build the network in "
            "your own code"
        ) from error


def write_torch_export(path: Path, program: ExportedProgram, document: Mapping[str, Any]) -> None:
    """Write a program, and what it is as JSON."""
    content = BytesIO()  # in a file of a full disk torch would end the whole process
    with _quiet():
        torch.export.save(program, content, extra_files={f"{KEY}.json": json.dumps(document)})
    path.write_bytes(content.getbuffer())


def read_torch_export(path: Path) -> Function:
    """The program as a function."""
    with path.open("rb") as file, _quiet():
        module = torch.export.load(file).module()

    def run(rows: Tensor) -> Tensor:
        made: Tensor = module(rows)
        return made

    return run


def write_onnx(
    path: Path, program: ExportedProgram, document: Mapping[str, Any], *, takes: str
) -> None:
    """Write a program as one ONNX file, its input of that name and its output `logits`.

    Raises:
        PipelineError: its weights are more than one file of ONNX holds, or ONNX lacks an operator.
    """
    num_bytes = sum(each.numel() * each.element_size() for each in program.state_dict.values())
    if num_bytes >= _MAX_ONNX_BYTES:
        raise PipelineError(
            f"{path}: weights of less than 2 GiB expected for one ONNX file, got "
            f"{num_bytes / 2**30:.1f} GiB; give --torch-export"
        )
    try:
        with _quiet():
            made = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=[takes],
                output_names=["logits"],
            )
    except Exception as error:  # as above
        raise PipelineError(
            f"--onnx: a network that ONNX has operators for expected, got one without "
            f"({described(error)}); give --torch-export"
        ) from error
    assert made is not None
    made.model.metadata_props[KEY] = json.dumps(document)
    with _quiet():
        made.save(path, external_data=False)


def read_onnx(path: Path) -> Function:
    """The graph as a function, run by ONNX Runtime on the CPU."""
    runtime: Any = import_module("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()

    def run(rows: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {given.name: rows.numpy()})[0])

    return run


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' warnings of their own insides, and their words on stdout."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        yield
