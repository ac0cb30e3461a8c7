"""Tensors of a checkpoint put into a network by name: all of them, or an error that lists others.

K classes, D features. A name may carry prefixes such as `module.` or `backbone.`, and the head may
be called `fc`, `linear` and the like; beyond that, name and shape must be the network's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from marr_pipeline.backbone.networks.classifier import Backbone
from marr_pipeline.errors import DataError

WRAPPERS = frozenset(
    {
        *("module", "_orig_mod"),  # of DataParallel and torch.compile
        *("model", "net", "network", "backbone", "body", "encoder", "base_model"),
        *("feat_model", "feature_extractor", "classifier"),
    }
)
HEAD_NAMES = ("head", "fc", "linear", "classifier", "last_linear")
MAX_LISTED = 8
_BODY = "body."
_STEPS = "num_batches_tracked"  # older than torch 0.4.1 lacks it, and evaluation does not use it
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # heads that only training has


@dataclass(frozen=True, eq=False)
class MatchedTensors:
    """A checkpoint's tensors under the network's names.

    Attributes:
        tensors: what `load_state_dict` takes; without the head if that is to be new.
        has_head: whether the head is among them.
        has_bias: whether the checkpoint's head has one; where not, zeros stand for it.
    """

    tensors: dict[str, Tensor]
    has_head: bool
    has_bias: bool

    def load_into(self, model: Backbone) -> None:
        """Copy them; what is not among them stays as it is."""
        model.load_state_dict({**model.state_dict(), **self.tensors})


def match_tensors(
    found: Mapping[str, Tensor], model: Backbone, *, new_head: bool, where: str, backbone: str
) -> MatchedTensors:
    """Find the place of every tensor in a network.

    Args:
        found: the checkpoint's tensors.
        model: the network; its values do not matter and stay as they are.
        new_head: leave the checkpoint's head out, whatever its shape.
        where: how errors name the file.
        backbone: how errors name the network.

    Raises:
        DataError: a tensor is missing, left over, of another shape or there twice; each is named.
            The head is that of other classes, or no plain linear layer.
    """
    own = model.state_dict()
    placed: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    unexpected = []
    for name, tensor in found.items():
        place = _place(name, own, model.head_aliases)
        if place is None:
            if not name.endswith(_STEPS):
                unexpected.append(name)
        elif place in placed:
            raise DataError(
                f"{where}: one tensor for {place} expected, got {origin[place]} and {name}; "
                "leave one network in the file"
            )
        elif place:
            placed[place], origin[place] = tensor, name
    head = {name: placed.pop(f"head.{name}", None) for name in ("weight", "bias")}
    body = {name: value for name, value in own.items() if not name.startswith("head.")}
    missing = [name for name in body if name not in placed and not name.endswith(_STEPS)]
    reshaped = [name for name in placed if placed[name].shape != body[name].shape]
    if missing or unexpected or reshaped:
        shapes = [
            f"{origin[name]} {tuple(placed[name].shape)} for {tuple(body[name].shape)}"
            for name in reshaped
        ]
        raise DataError(
            f"{where}: the tensors of a {backbone} expected, got "
            + "; ".join(
                f"{len(names)} {kind} ({_listed(names)})"
                for kind, names in (
                    ("missing", [name.removeprefix(_BODY) for name in missing]),
                    ("unexpected", unexpected),
                    ("of another shape", shapes),
                )
                if names
            )
            + "; is it another --backbone?"
        )
    if new_head:
        return MatchedTensors(placed, has_head=False, has_bias=False)
    weight, bias = head["weight"], head["bias"]
    if weight is None:
        raise DataError(
            f"{where}: a head under one of the names {', '.join(HEAD_NAMES)} expected, got none; "
            "give --new-head to begin with a fresh one"
        )
    _check_head(weight, bias, own["head.weight"].shape, origin["head.weight"], where)
    placed["head.weight"] = weight
    placed["head.bias"] = torch.zeros(len(weight)) if bias is None else bias
    return MatchedTensors(placed, has_head=True, has_bias=bias is not None)


def _place(name: str, own: Mapping[str, Tensor], head_aliases: tuple[str, ...]) -> str | None:
    """The network's name of a checkpoint's tensor; "" if nothing needs it, None if it has none."""
    rest = name
    while rest:
        for place in (rest, _BODY + rest):
            if place in own:
                return place
        layer, _, kind = rest.rpartition(".")
        if layer in (*HEAD_NAMES, *head_aliases) and kind in ("weight", "bias"):
            return f"head.{kind}"
        if rest.startswith(_AUXILIARY):
            return ""
        wrapper, _, rest = rest.partition(".")
        if wrapper not in WRAPPERS:
            return None
    return None


def _check_head(
    weight: Tensor, bias: Tensor | None, expected: torch.Size, name: str, where: str
) -> None:
    num_classes, width = expected
    shape = tuple(weight.shape)
    if shape == (width, num_classes) != expected:
        raise DataError(
            f"{where}: a plain linear head ({num_classes}, {width}) expected, got {name} {shape}, "
            "as cosine heads have it; their logits are not linear in the features"
        )
    if len(shape) == 2 and shape[0] != num_classes and shape[1] == width:
        raise DataError(
            f"{where}: a head of {num_classes} classes expected, as the data has, got {name} of "
            f"{shape[0]}; give the data it was trained on, or --new-head for a fresh head"
        )
    if shape != expected or (bias is not None and tuple(bias.shape) != (num_classes,)):
        biases = "" if bias is None else f" and a bias {tuple(bias.shape)}"
        raise DataError(
            f"{where}: a head ({num_classes}, {width}) expected, got {name} {shape}{biases}; "
            "is it another --backbone?"
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more
