"""Named arrays of the tensors in files of torch and safetensors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from marr_pipeline.errors import DataError
from marr_pipeline.tensor_file import read_tensor_file

_NUMPY_FLOATS = (torch.float16, torch.float32, torch.float64)


def read_tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Every tensor, and every list of strings or integers, of a `.safetensors` or torch file.

    Tensors stay mapped where the file allows it. bfloat16 becomes float32; what NumPy has, stays.

    Raises:
        DataError: unreadable, not a dict, or it would need pickled code.
    """
    content = read_tensor_file(path, mapped=True)
    if not isinstance(content, Mapping):
        raise DataError(
            f"{path}: a dict of tensors as .safetensors or by torch.save expected, got: "
            f"a {type(content).__name__}; save plain tensors, no objects"
        )
    return _arrays(content)


def _arrays(content: Mapping[Any, Any]) -> dict[str, npt.NDArray[Any]]:
    found: dict[str, npt.NDArray[Any]] = {}
    for name, value in content.items():
        if isinstance(value, Tensor):
            is_other_float = value.is_floating_point() and value.dtype not in _NUMPY_FLOATS
            found[str(name)] = (value.float() if is_other_float else value).detach().numpy()
        elif _is_plain_list(value):
            found[str(name)] = np.array(value)
    return found


def _is_plain_list(value: object) -> bool:
    return isinstance(value, list | tuple) and (
        all(isinstance(item, str) for item in value) or all(type(item) is int for item in value)
    )
