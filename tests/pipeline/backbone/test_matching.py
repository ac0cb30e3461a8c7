"""Tensors and networks that do not fit each other: every one of them is named."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from marr_pipeline.backbone import BACKBONES, build_backbone
from marr_pipeline.backbone.checkpoints.foreign import detect_backbone
from marr_pipeline.backbone.checkpoints.matching import match_tensors
from marr_pipeline.errors import DataError
from marr_pipeline.state_dict import MAX_LISTED, named_tensors

WHERE = "theirs.pt"


def build(num_classes=5):
    return build_backbone("resnet8", num_classes, in_channels=1, seed=1)


STATE = {name.replace("head.", "fc."): value for name, value in build().state_dict().items()}
NEEDED = [name for name in STATE if not name.endswith("num_batches_tracked")]
BODY = [name for name in NEEDED if not name.startswith("fc.")]


def match(tensors, *, num_classes=5, new_head=False):
    model = build(num_classes)
    return match_tensors(tensors, model, new_head=new_head, where=WHERE, backbone="resnet8")


def refusal(tensors, **options):
    with pytest.raises(DataError) as refused:
        match(tensors, **options)
    return str(refused.value)


@given(lost=st.sets(st.sampled_from(BODY), min_size=1, max_size=MAX_LISTED))
def test_every_missing_tensor_is_listed(lost):
    message = refusal({name: value for name, value in STATE.items() if name not in lost})
    listed = message.split("missing (")[1].split(")")[0].split(", ")
    assert set(listed) == lost
    assert message.startswith(f"theirs.pt: the tensors of a resnet8 expected, got {len(lost)} m")


@given(name=st.sampled_from(BODY))
def test_every_other_shape_is_told_with_both(name):
    shape = tuple(STATE[name].shape)
    message = refusal({**STATE, name: torch.zeros(3, *shape)})
    assert f"1 of another shape ({name} {(3, *shape)} for {shape})" in message


def test_all_three_kinds_stand_in_one_line():
    tensors = {**STATE, "bn1.weight": torch.zeros(2), "layer1.more": torch.zeros(1)}
    del tensors["conv1.weight"]
    message = refusal(tensors)
    assert (
        "1 missing (conv1.weight); 1 unexpected (layer1.more); 1 of another shape (bn1.w" in message
    )
    assert "\n" not in message


def test_a_long_list_is_cut_and_counted():
    message = refusal({"conv1.weight": STATE["conv1.weight"]})
    assert f"got {len(BODY) - 1} missing (" in message
    assert f" and {len(BODY) - 1 - MAX_LISTED} more)" in message


def test_two_networks_in_one_file_are_refused():
    tensors = {**STATE, "module.bn1.bias": STATE["bn1.bias"]}
    with pytest.raises(DataError, match=r"one tensor for bn1.bias .* bn1.bias and module.bn1.bias"):
        named_tensors(tensors, where=WHERE)


def test_counts_of_batches_may_be_missing():
    tensors = {name: STATE[name] for name in NEEDED}
    model = build_backbone("resnet8", 5, in_channels=1, seed=9)
    match(tensors).load_into(model)
    assert all(torch.equal(model.state_dict()[name], STATE[name]) for name in BODY)


def test_a_head_of_other_classes_needs_a_new_one():
    assert "a head of 3 classes expected, as the data has, got fc.weight of 5; " in refusal(
        STATE, num_classes=3
    )
    matched = match(STATE, num_classes=3, new_head=True)
    assert not matched.has_head
    model = build(3)
    fresh = model.head.weight.clone()
    matched.load_into(model)
    assert torch.equal(model.head.weight, fresh)
    assert torch.equal(model.conv1.weight, STATE["conv1.weight"])


def test_features_without_a_head_need_a_new_one():
    tensors = {name: STATE[name] for name in BODY}
    assert "one head, a matrix (5, 64) called weight, expected, got none" in refusal(tensors)
    assert not match(tensors, new_head=True).has_head


def test_a_head_without_a_bias_has_one_of_zeros():
    matched = match({name: value for name, value in STATE.items() if name != "fc.bias"})
    assert (matched.has_head, matched.has_bias) == (True, False)
    assert torch.equal(matched.tensors["head.bias"], torch.zeros(5))


def test_a_cosine_head_is_told_by_its_shape():
    tensors = {**STATE, "fc.weight": STATE["fc.weight"].T}
    del tensors["fc.bias"]
    assert "(5, 64) expected, got fc.weight (64, 5), as cosine heads have it" in refusal(tensors)
    other = {**STATE, "fc.weight": torch.zeros(5, 32)}
    assert "a head (5, 64) expected, got fc.weight (5, 32) and a bias (5,)" in refusal(other)


def test_heads_that_only_training_has_are_left_out():
    model = build_backbone("torchvision:googlenet", 3, in_channels=3, seed=0)
    state = model.body.state_dict() | {
        "fc.weight": model.head.weight,
        "fc.bias": model.head.bias,
        "aux1.conv.conv.weight": torch.zeros(1),
        "module.aux2.fc2.bias": torch.zeros(1),
    }
    tensors = named_tensors(state, where=WHERE)
    matched = match_tensors(tensors, model, new_head=False, where=WHERE, backbone="googlenet")
    assert matched.notes == ("left out, as no part of the googlenet: aux1.*, aux2.*",)
    assert matched.tensors.keys() == model.state_dict().keys()


def test_a_network_whose_layers_bear_the_names_of_wrappers_is_matched():
    """A transformer's blocks are called `encoder`, and so is many a wrapper."""
    model = build_backbone("torchvision:swin_t", 3, in_channels=3, seed=0)
    state = {f"module.{name}": value for name, value in model.body.state_dict().items()}
    state |= {"module.head.weight": model.head.weight, "module.head.bias": model.head.bias}
    tensors = named_tensors(state, where=WHERE)
    matched = match_tensors(tensors, model, new_head=False, where=WHERE, backbone="swin_t")
    assert matched.tensors.keys() == model.state_dict().keys()


def meta_state(name):
    with torch.device("meta"):
        return build_backbone(name, 11, in_channels=3, seed=0).state_dict()


def test_no_two_backbones_have_the_same_tensors():
    shapes = {
        frozenset((key, value.shape) for key, value in meta_state(name).items())
        for name in BACKBONES
    }
    assert len(shapes) == len(BACKBONES)


@pytest.mark.parametrize("name", ["resnet8", "resnet32", "resnet50"])
def test_a_cifar_network_is_told_by_its_tensors(name):
    assert detect_backbone(meta_state(name), where=WHERE) == name


def test_an_unknown_network_has_to_be_named():
    tensors = {name: value for name, value in STATE.items() if name != "bn1.bias"}
    with pytest.raises(DataError, match=r"theirs\.pt: the tensors of one of resnet8, .* give --ba"):
        detect_backbone(tensors, where=WHERE)
