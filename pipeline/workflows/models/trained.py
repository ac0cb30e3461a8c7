"""The checkpoint whose network made a cache: its head found, and written again with another one.

Everything but the head stays as it came: container, names, prefixes, and what is no optimiser's. K
classes, D features.
"""

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marr_pipeline.backbone import build_backbone
from marr_pipeline.backbone.checkpoints.checkpoint import (
    parse_checkpoint,
    restore_backbone,
    without_training,
)
from marr_pipeline.backbone.checkpoints.foreign import named_by_order
from marr_pipeline.backbone.checkpoints.matching import match_tensors
from marr_pipeline.backbone.networks.classifier import Backbone
from marr_pipeline.cache import Cache, Head, digest
from marr_pipeline.errors import DataError
from marr_pipeline.files import EXPORT_MARK
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.state_dict import heads, is_checkpoint, listed, named_tensors, with_tensors
from marr_pipeline.systems import recorded_method
from marr_pipeline.tensor_file import (
    is_safetensors,
    read_tensor_file,
    safetensors_header,
    write_tensor_file,
)

COUNTER = "num_batches_tracked"
"""Of a training's batches, which evaluation does not use and a file may lack."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A checkpoint and the network in it.

    Attributes:
        path: of the file.
        cached: the cache that its network made.
        content: of the file.
        tensors: of that by name.
        heads: the names in the file of the head's weight: one, or more where it stands there again.
        network: on the CPU; None where the cache does not know its architecture.
        weights: which network of the file, as `named_tensors` takes it.
        by_order: whether its tensors are told by their order.
        notes: what of the file was taken where there was a choice.
    """

    path: Path
    cached: Cache
    content: object
    tensors: dict[str, Tensor]
    heads: list[str]
    network: Backbone | None
    weights: str | None = None
    by_order: bool = False
    notes: tuple[str, ...] = ()

    def write(
        self,
        path: Path,
        weight: Tensor,
        bias: Tensor,
        *,
        rectifier: Rectifier,
        header: Mapping[str, str],
    ) -> list[str]:
        """Write the checkpoint with another head, without optimisers' states.

        Args:
            path: of the new file.
            weight: (K, D) float64 of the new head.
            bias: (K,) float64 of the new head; left out if it is 0 and the old one has none.
            rectifier: that it comes from.
            header: what is added to that of a safetensors file.

        Returns:
            What was changed and left out, in words.

        Raises:
            DataError: the file has no such weight itself, but keeps it as length and direction; or
                another layer's is the same tensor.
        """
        changed: dict[str, Tensor] = {}
        notes = []
        for name in self.heads:
            old, beside = self.tensors[name], _bias_of(name)
            dtype = torch.promote_types(old.dtype, torch.float32)
            own = {name: weight.reshape(-1, *old.shape[1:]).to(dtype)}
            if beside in self.tensors or bool((bias != 0).any()):
                own[beside] = bias.to(dtype)
            notes.append(f"head: {' and '.join(own)}")
            if beside in own and beside not in self.tensors:
                notes.append(f"{beside} is new, the head had none: build the network with a bias")
            if dtype != old.dtype:
                notes.append(f"the head is float32 now, since {old.dtype} would change its logits")
            changed |= own
        memory = {self.tensors[name].data_ptr() for name in self.heads}
        tied = [
            name
            for name, tensor in self.tensors.items()
            if tensor.data_ptr() in memory and name not in changed
        ]
        if tied:
            raise DataError(
                f"{self.path}: a head of its own expected, got {listed(tied)} as the same tensor, "
                f"which would take the place of {listed(self.heads)} again when it is loaded; "
                "untie them, or choose one network by --weights"
            )
        content, dropped = with_tensors(self.content, changed)
        found = named_tensors(content, where=str(self.path))
        if any(found.get(name) is not tensor for name, tensor in changed.items()):
            raise DataError(
                f"{self.path}: the head's weight as one tensor expected, got {listed(self.heads)} "
                "as length and direction; save the model without weight normalisation"
            )
        if is_checkpoint(self.content):
            rectified = {"method": rectifier.method, "log_prior": rectifier.log_prior}
            content = without_training(content, rectified)
            dropped = ["all that a training goes on from"]
        if dropped:
            notes.append(f"left out: {listed(dropped)} (optimiser state)")
        is_plain = is_safetensors(self.path)
        known = {**safetensors_header(self.path), **header} if is_plain else None
        write_tensor_file(path, content, header=known)
        if not is_plain and zipfile.is_zipfile(path):
            with path.open("rb+") as file:  # the archive's comment, whose length comes last
                file.seek(-2, os.SEEK_END)
                file.write(len(EXPORT_MARK).to_bytes(2, "little") + EXPORT_MARK)
        return notes

    def read_again(self, path: Path) -> tuple[list[tuple[Tensor, Tensor | None]], Backbone | None]:
        """Of what `write` wrote: weight (K, D) and bias (K,) of each head, and the network."""
        content = read_tensor_file(path)
        tensors = named_tensors(content, where=str(path), weights=self.weights)
        pairs = [(tensors[name].flatten(1), tensors.get(_bias_of(name))) for name in self.heads]
        if self.network is None:
            return pairs, None
        how: dict[str, Any] = {"where": str(path), "by_order": self.by_order, "new_head": False}
        return pairs, _restored(content, tensors, self.cached, **how)[0]


def read_trained(
    path: Path, cached: Cache, *, weights: str | None = None, by_order: bool = False
) -> Trained:
    """The checkpoint that made a cache.

    Args:
        path: of the file, of this program or another.
        cached: a cache that `extract` wrote; of one that was imported, the file has the head.
        weights: which network of the file, as `named_tensors` takes it.
        by_order: take its tensors by their order.

    Raises:
        ConfigError: no such weights, or the network's library is not installed.
        DataError: unreadable, no checkpoint, or one of other weights.
    """
    where = str(path)
    content = read_tensor_file(path)
    tensors = named_tensors(content, where=where, weights=weights)
    network, head, notes = None, None, tuple[str, ...]()
    digests = cached.parts.get("weights")
    if isinstance(digests, dict):
        how: dict[str, Any] = {"by_order": by_order, "new_head": cached.head is None}
        network, head, notes = _restored(content, tensors, cached, where=where, **how)
        state = {name: digest(value.numpy()) for name, value in network.state_dict().items()}
        others = [
            name
            for name, known in digests.items()
            if state.get(name) != known and not name.endswith(COUNTER)
        ]
        if others:
            raise DataError(
                f"{where}: the weights that {cached.path} was extracted with expected, got others "
                f"({listed(others)}); give that checkpoint, or extract anew"
            )
    found = [head] if head else []
    if cached.head is not None and cached.head.weight is not None:
        found = _names_of(cached.head, tensors) or found
    if not found:
        shapes = {name: value.shape for name, value in tensors.items()}
        raise DataError(
            f"{where}: the head of {cached.path} expected, {cached.num_classes} x "
            f"{cached.num_features or 'D'}, got "
            f"{listed(heads(shapes, num_classes=cached.num_classes)) or 'none'}; give the "
            "checkpoint that made it"
        )
    return Trained(
        path=path,
        cached=cached,
        content=content,
        tensors=tensors,
        heads=found,
        network=network,
        weights=weights,
        by_order=by_order,
        notes=tuple(f"{where}: {note}" for note in notes),
    )


def _restored(
    content: object,
    tensors: Mapping[str, Tensor],
    cached: Cache,
    *,
    where: str,
    by_order: bool,
    new_head: bool,
) -> tuple[Backbone, str | None, tuple[str, ...]]:
    """The network of the cache with the file's weights, and the file's name of its head.

    The head is left out if it is to be a new one.
    """
    config = cached.record("config")
    if is_checkpoint(content):
        stored = parse_checkpoint(content, where=where)
        own: dict[str, Any] = stored.record.config
        method = recorded_method(own["method"]) if "method" in own else None
        return restore_backbone(stored, where=where, method=method), "model.head.weight", ()
    backbone, channels = config["backbone"], config["dataset"]["channels"]
    network = build_backbone(backbone, cached.num_classes, in_channels=channels, seed=0)
    named: Mapping[str, Tensor] = tensors
    if by_order:
        named = named_by_order(tensors, network, where=where, backbone=backbone)
    matched = match_tensors(named, network, new_head=new_head, where=where, backbone=backbone)
    matched.load_into(network)
    head = None
    if matched.head is not None:  # by whatever name it stands in the file
        head = next(name for name, value in tensors.items() if value is named[matched.head])
    return network, head, matched.notes


def _names_of(head: Head, tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of every weight that is this head's, its bias beside it."""
    assert head.weight is not None
    weight = torch.from_numpy(head.weight)
    bias = torch.zeros(len(weight)) if head.bias is None else torch.from_numpy(head.bias)
    shapes = {name: value.shape for name, value in tensors.items()}
    found = []
    for name in heads(shapes, num_classes=len(weight), num_features=weight.shape[1]):
        own = tensors.get(_bias_of(name), torch.zeros(len(weight)))
        if torch.equal(tensors[name].flatten(1).to(weight), weight) and torch.equal(
            own.to(bias), bias
        ):
            found.append(name)
    return found


def _bias_of(weight: str) -> str:
    """The name beside that of a weight."""
    return weight.removesuffix("weight") + "bias"
