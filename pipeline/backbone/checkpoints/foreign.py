"""The tensors of a checkpoint that another program wrote, out of whatever they are packed in."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from marr_pipeline.errors import DataError

CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "network", "state_dict_best")
"""Keys under which programs keep a state dict, first choice first: the last iterate before the
one that scored best, since the split it scored best on is often test."""

PARTS = ("feat_model", "classifier", "backbone", "encoder", "head", "fc", "linear")
"""Keys of state dicts that are one network together, as feature extractor and classifier."""


def foreign_tensors(content: object, *, where: str) -> dict[str, Tensor]:
    """The state dict in the content of a file; of parts, with their keys as prefixes.

    Args:
        content: as `read_tensor_file` gives it.
        where: how errors name the file.

    Raises:
        DataError: there is no state dict in it, or it has values that are not finite.
    """
    found = _flat(_state_dict(content))
    if not found:
        keys = ", ".join(map(str, content)) if isinstance(content, Mapping) else ""
        raise DataError(
            f"{where}: a state dict, or one under {', '.join(CONTAINERS)}, expected, got "
            f"{f'the keys {keys}' if keys else f'a {type(content).__name__}'}; "
            "save model.state_dict()"
        )
    for name, tensor in found.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise DataError(
                f"{where}: finite weights expected, got others in {name}; "
                "was the network trained to its end?"
            )
    return found


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, whatever their order in the file."""
    sha = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        sha.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _state_dict(content: object) -> object:
    """The innermost container; of a dict of parts and other things, the parts."""
    if not isinstance(content, Mapping):
        return {}
    for key in CONTAINERS:
        if _flat(content.get(key)):
            return _state_dict(content[key])
    parts = {key: content[key] for key in PARTS if isinstance(content.get(key), Mapping)}
    return parts or {key: value for key, value in content.items() if isinstance(value, Tensor)}


def _flat(content: object) -> dict[str, Tensor]:
    """Every tensor of nested dicts, names joined by dots."""
    found: dict[str, Tensor] = {}
    for name, value in content.items() if isinstance(content, Mapping) else ():
        if isinstance(value, Tensor):
            found[str(name)] = value
        else:
            found |= {f"{name}.{inner}": tensor for inner, tensor in _flat(value).items()}
    return found
