"""Tensors that are told by their order where the names are another program's."""

import pytest
import torch

from marr_pipeline.backbone import build_backbone
from marr_pipeline.backbone.checkpoints.foreign import named_by_order
from marr_pipeline.backbone.checkpoints.matching import match_tensors
from marr_pipeline.errors import DataError

BACKBONES = ("resnet8", "torchvision:shufflenet_v2_x0_5", "timm:test_efficientnet")


def build(name, *, seed):
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    return build_backbone(name, 7, in_channels=3, seed=seed)


def renamed(model):
    """The state dict as another program would have it: own names of layers, same order."""
    layers, state = {}, {}
    for name, tensor in model.state_dict().items():
        layer, _, kind = name.rpartition(".")
        state[f"net.{layers.setdefault(layer, f'layer{len(layers)}')}.{kind}"] = tensor
    return state


def by_order(state, name):
    return named_by_order(state, build(name, seed=9), where="theirs.pt", backbone=name)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_network_under_other_names_is_read_back(name):
    theirs, ours = build(name, seed=1), build(name, seed=2)
    state = renamed(theirs)
    found = by_order(state, name)
    match_tensors(found, ours, new_head=False, where="theirs.pt", backbone=name).load_into(ours)
    for own, expected in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(own, expected)
    without = {key: value for key, value in state.items() if "num_batches" not in key}
    assert by_order(without, name).keys() == found.keys()


def swapped(state, one, two):
    names = list(state)
    names[one], names[two] = names[two], names[one]
    return {name: state[name] for name in names}


def first(state, kind):
    return next(place for place, name in enumerate(state) if name.endswith(kind))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: dict(list(state.items())[1:]), "conv1.weight .* expected at place 0"),
        (lambda state: dict(list(state.items())[2:]), "tensors of a resnet8 expected .*, got"),
        (lambda state: swapped(state, first(state, "bias"), first(state, "running_mean")), "bias"),
        (lambda state: dict(reversed(state.items())), "expected at place 0 with --by-order, got"),
        (
            lambda state: {
                name.replace("layer1.bias", "layer0.bias"): value for name, value in state.items()
            },
            "got net.layer0.bias",
        ),
    ],
)
def test_another_order_shape_or_grouping_is_refused(change, message):
    state = renamed(build("resnet8", seed=1))
    with pytest.raises(DataError, match=f"theirs.pt: .*{message}"):
        by_order(change(state), "resnet8")
