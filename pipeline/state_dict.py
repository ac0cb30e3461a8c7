"""Tensors of a checkpoint by name, whatever they are packed in, and the linear head among them.

A file is a tree: the keys of nested dicts and the dots in a state dict's names are edges alike, so
`{"state_dict": {"fc.weight": W}}` holds `state_dict.fc.weight`, and the tensors of one network
stand below one prefix. K classes, D features.
"""

import copy
import re
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, TypeGuard

import torch
from torch import Tensor

from marr_pipeline.errors import ConfigError, DataError

WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Edges that torch's own wrappers add, anywhere in a name; they are left out."""

NORMALISED = (
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)
"""Lengths and directions that weight normalisation keeps in place of a weight."""

_AVERAGED = frozenset({"ema", "swa", "averaged"})
_WORDS = re.compile(r"[a-z]+")
MAX_LISTED = 8

FORMAT = "marr-checkpoint"
"""Of this program's own checkpoints, whose network is under `model`."""


def is_checkpoint(content: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether a file of this content was written by this program."""
    return isinstance(content, Mapping) and content.get("format") == FORMAT


def not_finite(tensors: Mapping[str, object]) -> list[str]:
    """Names of the tensors in which a number is infinite or none; other things are passed over."""
    return [
        name
        for name, each in tensors.items()
        if isinstance(each, Tensor) and not bool(each.isfinite().all())
    ]


def named_tensors(content: object, *, where: str, weights: str | None = None) -> dict[str, Tensor]:
    """Every tensor under keys of text, by dotted name; weight normalisation is multiplied out.

    Args:
        content: as `read_tensor_file` gives it.
        where: how errors name the file.
        weights: keep those alone in whose name this part stands, a key or several with dots.

    Raises:
        ConfigError: nothing stands under `weights`.
        DataError: there is no tensor under a name, or there are two under one, or one is nested.
    """
    if is_checkpoint(content):
        content = {"model": content.get("model")}
    found: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for name, tensor in _walk(content, ""):
        short = _unwrapped(name)
        if tensor.is_meta or tensor.is_nested:
            raise DataError(
                f"{where}: plain tensors expected, got {short} nested or without numbers; "
                "save it dense"
            )
        if short in found:
            raise DataError(
                f"{where}: one tensor for {short} expected, got {origin[short]} and {name}; "
                "leave one network in the file"
            )
        found[short], origin[short] = tensor, name
    if not found:
        raise DataError(
            f"{where}: a state dict, alone or under a key, expected, got {_described(content)}"
        )
    if weights is not None:
        chosen = {name: value for name, value in found.items() if f".{weights}." in f".{name}"}
        if not chosen:
            known = ", ".join(dict.fromkeys(name.partition(".")[0] for name in found))
            raise ConfigError(
                f"--weights: a key of {where} over a state dict expected, such as {known}, got "
                f"{weights}; choose one"
            )
        found = chosen
    return _multiplied_out(found)


def with_tensors(content: Any, changed: Mapping[str, Tensor]) -> tuple[Any, list[str]]:
    """The same content with other tensors under some names, and without optimisers' states.

    Args:
        content: as `read_tensor_file` gives it; it stays as it is.
        changed: by the names of `named_tensors`. A bias that is not there yet goes behind its
            weight, under the name that stands beside it.

    Returns:
        The content, and the names of the states that were left out.
    """
    dropped: list[str] = []

    def copied(node: Any, prefix: str) -> Any:
        if isinstance(node, Namespace):
            return Namespace(**copied(vars(node), prefix))
        if isinstance(node, PurePath):
            return Path(node)  # as whoever reads it knows it
        if not isinstance(node, Mapping):
            return node
        made: Any = copy.copy(node)  # of its own kind, with the versions that a state dict keeps
        made.clear()
        for key, value in node.items():
            name = f"{prefix}{key}"
            if _is_optimiser(value):
                dropped.append(name)
                continue
            short = _unwrapped(name)
            made[key] = changed[short] if short in changed else copied(value, f"{name}.")
            bias = short.removesuffix("weight") + "bias"
            if short in changed and bias in changed and bias != short:
                beside = key.removesuffix("weight") + "bias"
                if beside not in node:
                    made[beside] = changed[bias]
        return made

    return copied(content, ""), dropped


def heads(
    shapes: Mapping[str, Sequence[int]], *, num_classes: int | None, num_features: int | None = None
) -> list[str]:
    """Names of all that may be the weight (K, D) of a linear head, one as a convolution included.

    Args:
        shapes: of tensors by name.
        num_classes: K; None takes any.
        num_features: D; None takes any.
    """
    return [
        name
        for name, shape in shapes.items()
        if name.rpartition(".")[2] == "weight"
        and len(shape) >= 2
        and all(side == 1 for side in shape[2:])
        and num_classes in (None, shape[0])
        and num_features in (None, shape[1])
    ]


def preferred(names: Iterable[str]) -> list[str]:
    """Prefixes of alike tensors, first choice first.

    Averaged weights come before others, since they are what their author scores; what scored best
    comes last, since the split it scored best on is often test.
    """

    def rank(name: str) -> tuple[bool, bool]:
        words = set(_WORDS.findall(name.lower()))
        return not words & _AVERAGED, "best" in words

    return sorted(names, key=rank)


def listed(names: Sequence[str]) -> str:
    """The first of them, and how many more."""
    more = f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more


def _unwrapped(name: str) -> str:
    return ".".join(edge for edge in name.split(".") if edge not in WRAPPERS)


def _is_optimiser(value: object) -> bool:
    """Whether it is what an optimiser of torch keeps, or a list of such, as Lightning has it."""
    if isinstance(value, list | tuple):
        return bool(value) and all(map(_is_optimiser, value))
    return isinstance(value, Mapping) and {"state", "param_groups"} <= value.keys()


def _walk(content: object, prefix: str) -> Iterable[tuple[str, Tensor]]:
    for key, value in content.items() if isinstance(content, Mapping) else ():
        if isinstance(value, Tensor) and isinstance(key, str):
            yield prefix + key, value
        elif isinstance(key, str):
            yield from _walk(value, f"{prefix}{key}.")


def _multiplied_out(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same, with weights in the place of lengths and directions."""
    found = dict(tensors)
    for lengths_name, directions_name in NORMALISED:
        for name in tensors:
            stem = name.removesuffix(lengths_name)
            if stem == name or (stem and not stem.endswith(".")):
                continue
            directions = tensors.get(stem + directions_name)
            if directions is not None and directions.is_floating_point():
                lengths = found.pop(name).float()
                directions = found.pop(stem + directions_name).float()
                axes = [i for i, side in enumerate(lengths.shape) if side == 1]
                norms = torch.linalg.vector_norm(directions, dim=axes or None, keepdim=True)
                found[f"{stem}weight"] = directions * (lengths / norms)
    return found


def _described(content: object) -> str:
    """What a file holds that is no state dict, and what to do with it."""
    if isinstance(content, Tensor):
        return (
            f"a single tensor {tuple(content.shape)}; save model.state_dict(), or give logits to "
            "`pipeline import --train` as {'logits': ..., 'labels': ...}"
        )
    if isinstance(content, tuple | list) and len(content) and isinstance(content[0], Tensor):
        kinds = ", ".join(
            str(tuple(each.shape)) if isinstance(each, Tensor) else type(each).__name__
            for each in content[:3]
        )
        return (
            f"a {type(content).__name__} of {len(content)} ({kinds}); save model.state_dict(), or "
            "logits and labels as {'logits': ..., 'labels': ...} for `pipeline import --train`"
        )
    keys = ", ".join(map(str, content)) if isinstance(content, Mapping) else ""
    return (
        f"{f'the keys {keys}' if keys else f'a {type(content).__name__}'}; save model.state_dict()"
    )
