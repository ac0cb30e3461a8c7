"""Tensors of a checkpoint put into a network: all of it, from one place, or an error that says why.

A network is there where every one of its tensors but the head's stands below one prefix, by its own
name or, as `nn.Sequential(*network.children())` has it, by its layer's number, and no other tensor
within its layers. The head is under the network's own name for it, or the one matrix (K, D) near
by. K classes, D features.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from marr_pipeline.backbone.networks.classifier import Backbone, Classifier
from marr_pipeline.errors import DataError
from marr_pipeline.state_dict import heads, listed, preferred

_STEPS = "num_batches_tracked"  # older than torch 0.4.1 lacks it, and evaluation does not use it


class HeadError(DataError):
    """A checkpoint whose head does not fit, or is none; the rest of the network may well do."""


@dataclass(frozen=True, eq=False)
class MatchedTensors:
    """A checkpoint's tensors under the network's names.

    Attributes:
        tensors: what `load_into` copies; without the head if that is to be new.
        has_head: whether the head is among them.
        has_bias: whether the checkpoint's head has one; where not, zeros stand for it.
        notes: what of the file was taken where there was a choice, and what was left out.
        head: the file's name of the head's weight, also where that was left out; None where
            nothing in the file has the network's own name for it.
    """

    tensors: dict[str, Tensor]
    has_head: bool
    has_bias: bool
    notes: tuple[str, ...] = ()
    head: str | None = None

    def load_into(self, model: Backbone) -> None:
        """Copy them; what is not among them stays as it is."""
        state = model.state_dict()  # with the versions of its layers, which a plain dict would lose
        state.update(self.tensors)
        model.load_state_dict(state)


@dataclass(frozen=True, eq=False)
class Layout:
    """How a file may name a network's tensors.

    Attributes:
        places: the file's name to the network's, the head aside.
        layers: first parts of the names of all that belongs to the network, the head included.
        heads: names of the head's layer.
    """

    places: dict[str, str]
    layers: frozenset[str]
    heads: tuple[str, ...]

    @property
    def needed(self) -> dict[str, str]:
        """The places that a file must fill."""
        return {name: own for name, own in self.places.items() if not name.endswith(_STEPS)}


def match_tensors(
    found: Mapping[str, Tensor], model: Backbone, *, new_head: bool, where: str, backbone: str
) -> MatchedTensors:
    """Find every tensor of a network.

    Args:
        found: the checkpoint's tensors, as `named_tensors` gives them.
        model: the network; its values do not matter and stay as they are.
        new_head: leave the checkpoint's head out, whatever its shape.
        where: how errors name the file.
        backbone: how errors name the network.

    Raises:
        DataError: a tensor is missing, left over within the network, of another shape or not
            finite; each is named.
        HeadError: the head is that of other classes, no plain linear layer, or one of several.
    """
    own = model.state_dict()
    networks = find_networks(found, model, where=where, backbone=backbone)
    prefix, *others = preferred(networks)
    layout = networks[prefix]
    origin = {
        place: prefix + name for name, place in layout.places.items() if prefix + name in found
    }
    placed = {place: found[name] for place, name in origin.items()}
    notes = []
    left = [
        other
        for other in others
        if any(
            not torch.equal(placed[place], found[other + name])
            for name, place in networks[other].needed.items()
        )
    ]
    if left:
        notes.append(
            f"of several networks in it, {_shown(prefix)} is taken and "
            f"{listed([_shown(other) for other in left])} left; --weights chooses"
        )
    has_bias = False
    own_names = [f"{prefix}{head}.weight" for head in layout.heads]
    weight = next((name for name in own_names if name in found), None)
    rest = _near(found, prefix, others)
    rest = {name: value for name, value in rest.items() if name not in origin.values()}
    if not new_head:
        weight = _head(rest, prefix, layout, own["head.weight"].shape, where)
        bias = weight.removesuffix("weight") + "bias"
        has_bias = bias in rest
        origin |= {"head.weight": weight, **({"head.bias": bias} if has_bias else {})}
        placed["head.weight"] = rest.pop(weight).flatten(1)
        placed["head.bias"] = rest.pop(bias) if has_bias else torch.zeros(len(own["head.weight"]))
        _check_nothing_between(rest, weight, prefix, placed["head.weight"].shape[1], where)
    else:
        rest = {
            name: value
            for name, value in rest.items()
            if not any(name.startswith(f"{prefix}{head}.") for head in layout.heads)
        }
    if rest:
        groups = dict.fromkeys(_group(name, prefix) for name in rest)
        parts = [f"{name}*" if name.endswith(".") else name for name in groups]
        notes.append(f"left out, as no part of the {backbone}: {listed(parts)}")
    for place, name in origin.items():
        _check_finite(placed[place], name, where)
    return MatchedTensors(placed, not new_head, has_bias, tuple(notes), weight)


def find_networks(
    found: Mapping[str, Tensor], model: Backbone, *, where: str, backbone: str
) -> dict[str, Layout]:
    """Prefixes below which every tensor of a network stands, and how it is named there.

    The arguments are those of `match_tensors`; the head is not asked for.

    Raises:
        DataError: there is none; what the nearest lacks is named.
    """
    own = model.state_dict()
    counts = Counter(
        (name.removesuffix(ending), layout)
        for layout in _layouts(model)
        for name in found
        for ending in _endings(name)
        if ending in layout.needed
    )
    networks = {
        prefix: layout
        for (prefix, layout), count in counts.items()
        if count == len(layout.needed) and not _misfits(found, prefix, layout, own)
    }
    if not networks:
        prefix, layout = max(counts, key=lambda key: counts[key], default=("", _layouts(model)[0]))
        raise DataError(
            f"{where}: the tensors of a {backbone} expected, got "
            f"{_misfits(found, prefix, layout, own)}; is it another --backbone?"
        )
    return networks


def _layouts(model: Backbone) -> list[Layout]:
    """By name, and for a network whose layers stand in a row by number."""
    is_cut = isinstance(model, Classifier)
    names = {
        name.removeprefix("body.") if is_cut else name: name
        for name in model.state_dict()
        if not name.startswith("head.")
    }
    inner = model.get_submodule("body") if is_cut else model
    layers = [name for name, _ in inner.named_children()]
    heads = tuple(dict.fromkeys((*model.head_aliases, "head")))
    layouts = [Layout(names, frozenset(layers), heads)]
    if all(name.partition(".")[0] in layers for name in names):
        numbers = {name: str(number) for number, name in enumerate(layers)}
        layouts.append(
            Layout(
                {_numbered(name, numbers): place for name, place in names.items()},
                frozenset(numbers.values()),
                tuple(_numbered(head, numbers) for head in heads),
            )
        )
    return layouts


def _numbered(name: str, numbers: Mapping[str, str]) -> str:
    first, dot, rest = name.partition(".")
    return numbers.get(first, first) + dot + rest


def _endings(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.partition(".")[2]


def _misfits(
    found: Mapping[str, Tensor], prefix: str, layout: Layout, own: Mapping[str, Tensor]
) -> str:
    """What of a network below a prefix is missing, left over or of another shape; "" if nothing."""
    places = layout.places
    missing = [name for name in layout.needed if prefix + name not in found]
    reshaped = [
        f"{prefix}{name} {tuple(found[prefix + name].shape)} for {tuple(own[place].shape)}"
        for name, place in places.items()
        if prefix + name in found and found[prefix + name].shape != own[place].shape
    ]
    has_own = any("." not in name for name in places)  # parameters of no layer, as a token's
    is_other = not any(prefix + name in found for name in places)
    below = [name.removeprefix(prefix) for name in found if name.startswith(prefix)]
    unexpected = [
        prefix + name
        for name in below
        if name not in places
        and not name.endswith(_STEPS)
        and not any(name.startswith(f"{head}.") for head in layout.heads)
        and (is_other or name.partition(".")[0] in layout.layers or ("." not in name and has_own))
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
    return "; ".join(f"{len(names)} {kind} ({listed(names)})" for kind, names in kinds if names)


def _near(found: Mapping[str, Tensor], prefix: str, others: Sequence[str]) -> dict[str, Tensor]:
    """Tensors of the widest part of the file around a network in which no other one stands."""
    scope = prefix
    while scope:
        wider = _wider(scope)
        if any(other.startswith(wider) for other in others):
            break
        scope = wider
    return {
        name: value
        for name, value in found.items()
        if name.startswith(scope)
        and not any(name.startswith(other) for other in others if other.startswith(scope))
        and not name.endswith(_STEPS)
    }


def _wider(prefix: str) -> str:
    """The prefix around a prefix, `a.` around `a.b.`; none around that."""
    return "".join(prefix.rpartition(".")[0].rpartition(".")[:2])


def _head(
    rest: Mapping[str, Tensor], prefix: str, layout: Layout, expected: torch.Size, where: str
) -> str:
    """The name of the head's weight, its shape and its bias's checked."""
    own = [f"{prefix}{head}.weight" for head in layout.heads]
    shapes = {name: value.shape for name, value in rest.items()}
    names = [name for name in own if name in rest][:1]
    scope = prefix
    while not names:
        inside = {name: shape for name, shape in shapes.items() if name.startswith(scope)}
        names = heads(inside, num_classes=expected[0], num_features=expected[1])
        if not scope:
            break
        scope = _wider(scope)
    names = names or heads(shapes, num_classes=None, num_features=expected[1])
    if len(names) != 1:
        raise HeadError(
            f"{where}: one head, a matrix {tuple(expected)} called weight, expected, got "
            f"{listed(names) or 'none'}; "
            + ("leave one in the file" if names else "give --new-head to begin with a fresh one")
        )
    (name,) = names
    _check_head(rest[name], rest.get(name.removesuffix("weight") + "bias"), expected, name, where)
    return name


def _check_head(
    weight: Tensor, bias: Tensor | None, expected: torch.Size, name: str, where: str
) -> None:
    num_classes, width = expected
    shape = tuple(weight.shape)
    if shape == (width, num_classes) != expected:
        raise HeadError(
            f"{where}: a plain linear head ({num_classes}, {width}) expected, got {name} {shape}, "
            "as cosine heads have it; their logits are not linear in the features"
        )
    if len(shape) >= 2 and shape[0] != num_classes and shape[1] == width:
        raise HeadError(
            f"{where}: a head of {num_classes} classes expected, as the data has, got {name} of "
            f"{shape[0]}; give the data it was trained on, or --new-head for a fresh head"
        )
    is_matrix = len(shape) >= 2 and weight.flatten(1).shape == expected
    if not is_matrix or (bias is not None and tuple(bias.shape) != (num_classes,)):
        biases = "" if bias is None else f" and a bias {tuple(bias.shape)}"
        raise HeadError(
            f"{where}: a head ({num_classes}, {width}) expected, got {name} {shape}{biases}; "
            "is it another --backbone?"
        )


def _check_nothing_between(
    rest: Mapping[str, Tensor], head: str, prefix: str, width: int, where: str
) -> None:
    """Refuse what may change features or logits (D = width) on the way: a scale beside the head,
    another layer of it, or a part of the file from D numbers to D numbers, as a neck is.
    """
    groups: dict[str, list[str]] = {}
    for name, value in rest.items():
        if value.is_floating_point():
            groups.setdefault(_group(name, prefix), []).append(name)
    own = _group(head, prefix)
    for group, names in groups.items():
        shapes = [tuple(rest[name].shape) for name in names]
        if (group == own and own[-1] == ".") or _is_neck(shapes, width):
            raise HeadError(
                f"{where}: a head on the features themselves expected, got {listed(names)} beside "
                f"{head}, through which they may pass; if they do not, save the file without"
            )


def _is_neck(shapes: Sequence[tuple[int, ...]], width: int) -> bool:
    """Whether layers of these parameters may take D numbers to D numbers."""
    matrices = [shape for shape in shapes if len(shape) == 2]
    if any(len(shape) > 2 for shape in shapes):
        return False
    if matrices:
        return matrices[0][1] == width == matrices[-1][0]
    return any(shape == (width,) for shape in shapes)


def _group(name: str, prefix: str) -> str:
    """The first part of a name beyond what it shares with a network's prefix."""
    shared = 0
    for end, (one, other) in enumerate(zip(name, prefix, strict=False), 1):
        if one != other:
            break
        if one == ".":
            shared = end
    first, dot, _ = name[shared:].partition(".")
    return name[:shared] + first + dot


def _check_finite(tensor: Tensor, name: str, where: str) -> None:
    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise DataError(
            f"{where}: plain tensors expected, got {name} sparse or quantised; save it before that"
        )
    if not bool(tensor.float().isfinite().all()):
        raise DataError(
            f"{where}: finite weights expected, got others in {name}; "
            "was the network trained to its end?"
        )


def _shown(prefix: str) -> str:
    return prefix.rstrip(".") or "the rest"
