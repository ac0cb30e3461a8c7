"""Checkpoints as other programs write them, each read back into the same network."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import avg_pool2d, batch_norm, conv2d, linear, pad, relu

from marr_pipeline.backbone import build_backbone
from marr_pipeline.backbone.checkpoints.foreign import detect_backbone, tensors_digest
from marr_pipeline.backbone.checkpoints.matching import match_tensors
from marr_pipeline.errors import DataError
from marr_pipeline.state_dict import WRAPPERS, named_tensors
from marr_pipeline.tensor_file import read_tensor_file

NUM_CLASSES = 5


def make_state(*, head="linear", prefix="", seed=1):
    """A small network's tensors, with statistics that are not the initial ones."""
    model = build_backbone("resnet8", NUM_CLASSES, in_channels=1, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return {
        prefix + name.replace("head.", f"{head}."): value
        for name, value in model.state_dict().items()
    }


def split_state(part="", head="fc"):
    """Feature extractor and classifier apart, as codes with two networks keep them."""
    state = make_state(head=head)
    features = {part + name: value for name, value in state.items() if not name.startswith(head)}
    classifier = {part + name: value for name, value in state.items() if name.startswith(head)}
    return {"feat_model": features, "classifier": classifier}


def read_back(content, **options):
    """What a fresh network becomes with the tensors of a file of that content."""
    tensors = named_tensors(content, where="theirs.pt")
    model = build_backbone("resnet8", NUM_CLASSES, in_channels=1, seed=99)
    matched = match_tensors(
        tensors, model, where="theirs.pt", backbone="resnet8", **{"new_head": False, **options}
    )
    matched.load_into(model)
    return model


def assert_same(model, state):
    for (name, ours), theirs in zip(model.state_dict().items(), state.values(), strict=True):
        assert torch.equal(ours, theirs), name


FORMS = {
    "raw": make_state(),
    "beside other things": {"state_dict": make_state(), "epoch": 3, "optimizer": {"state": {}}},
    "parallel": {"state_dict": make_state(prefix="module."), "best_acc1": torch.tensor(0.5)},
    "wrapped twice": {"net": make_state(prefix="module.backbone.")},
    "in two containers": {"model": {"state_dict": make_state(prefix="encoder.")}},
    "in parallel parts": {"state_dict_best": split_state("module."), "best_epoch": 9},
    "parts beside a tensor": {**split_state(), "centroids": torch.zeros(5, 64)},
    "parts by their names": {
        "backbone": split_state()["feat_model"],
        "fc": {name.removeprefix("fc."): v for name, v in split_state()["classifier"].items()},
    },
    "last and best": {"state_dict": make_state(), "state_dict_best": make_state(seed=2)},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("writer", ["zip", "older than torch 1.6"])
def test_every_form_is_read_back(tmp_path, form, writer):
    torch.save(FORMS[form], tmp_path / "a.pt", _use_new_zipfile_serialization=writer == "zip")
    assert_same(read_back(read_tensor_file(tmp_path / "a.pt")), make_state())


def test_safetensors_are_read_back(tmp_path):
    save_file(make_state(prefix="backbone."), tmp_path / "a.safetensors")
    assert_same(read_back(read_tensor_file(tmp_path / "a.safetensors")), make_state())


def test_a_file_saved_from_a_gpu_is_read_without_one(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:1")
    torch.save({"state_dict": make_state()}, tmp_path / "a.pt")
    monkeypatch.undo()
    assert_same(read_back(read_tensor_file(tmp_path / "a.pt")), make_state())


def test_half_precision_becomes_single():
    state = {name: v.half() if v.is_floating_point() else v for name, v in make_state().items()}
    model = read_back(state)
    assert model.head.weight.dtype == torch.float32
    assert torch.equal(model.head.weight, state["linear.weight"].float())


@settings(max_examples=40)
@given(
    wrappers=st.lists(st.sampled_from((*sorted(WRAPPERS), "model", "anything")), max_size=3),
    head=st.sampled_from(("head", "fc", "linear", "head.fc", "any.1")),
    container=st.sampled_from((None, "state_dict", "net", "whatever")),
)
def test_any_prefixes_any_head_and_any_container(wrappers, head, container):
    state = make_state(head=head, prefix="".join(f"{wrapper}." for wrapper in wrappers))
    assert_same(read_back({container: state} if container else state), make_state())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "got a dict; save model.state_dict"),
        ({"epoch": 3, "optimizer": {0: torch.ones(2)}}, "got the keys epoch, optimizer; save"),
        ([1, 2], "got a list; save"),
        ({"state_dict": {"epoch": 2}}, "got the keys state_dict; save"),
    ],
)
def test_content_without_a_network_is_refused(content, message):
    with pytest.raises(DataError, match=r"theirs\.pt: .*" + message):
        named_tensors(content, where="theirs.pt")


def test_digest_depends_on_names_types_shapes_and_values_and_not_on_order():
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)}
    digest = tensors_digest(state)
    assert digest == tensors_digest({"b": state["b"], "a": state["a"].clone()})
    assert digest == tensors_digest({"a": state["a"].T.contiguous().T, "b": state["b"]})
    others = [
        {"a": state["a"].reshape(3, 2), "b": state["b"]},
        {"a": state["a"].double(), "b": state["b"]},
        {"c": state["a"], "b": state["b"]},
        {"a": state["a"], "b": torch.tensor(4)},
        {"a": state["a"]},
    ]
    assert len({digest, *map(tensors_digest, others)}) == 6
    assert len(tensors_digest({"a": torch.ones(3, dtype=torch.bfloat16)})) == 64


def reference_logits(state, images):
    """The public CIFAR ResNet with shortcuts of option A, straight from its tensors' names."""

    def norm(x, name):
        values = (state[f"{name}.{kind}"] for kind in ("running_mean", "running_var"))
        return batch_norm(x, *values, state[f"{name}.weight"], state[f"{name}.bias"])

    x = relu(norm(conv2d(images, state["conv1.weight"], padding=1), "bn1"))
    for stage, planes in ((1, 16), (2, 32), (3, 64)):
        for block in range(5):
            stride = 2 if stage > 1 and block == 0 else 1
            name = f"layer{stage}.{block}"
            out = conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)
            out = conv2d(relu(norm(out, f"{name}.bn1")), state[f"{name}.conv2.weight"], padding=1)
            if stride == 2:
                x = pad(x[:, :, ::2, ::2], (0, 0, 0, 0, planes // 4, planes // 4))
            x = relu(norm(out, f"{name}.bn2") + x)
    pooled = avg_pool2d(x, x.shape[3]).flatten(1)
    return linear(pooled, state["linear.weight"], state["linear.bias"])


def public_resnet32(num_classes):
    """Tensors under the names of the public CIFAR checkpoints, of random value."""
    generator = torch.Generator().manual_seed(7)
    shapes = {"conv1": (16, 3, 3, 3), "bn1": (16,), "linear": (num_classes, 64)}
    width = 16
    for stage, planes in ((1, 16), (2, 32), (3, 64)):
        for block in range(5):
            name = f"layer{stage}.{block}"
            shapes |= {f"{name}.conv1": (planes, width, 3, 3), f"{name}.bn1": (planes,)}
            shapes |= {f"{name}.conv2": (planes, planes, 3, 3), f"{name}.bn2": (planes,)}
            width = planes
    state = {}
    for name, shape in shapes.items():
        fan_in = torch.Size(shape[1:]).numel()
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
        if len(shape) != 4:
            state[f"{name}.bias"] = torch.randn(shape[:1], generator=generator)
        if len(shape) == 1:
            state[f"{name}.running_mean"] = torch.randn(shape, generator=generator)
            state[f"{name}.running_var"] = torch.rand(shape, generator=generator) + 0.5
    return state


def test_public_cifar_resnet32_gives_the_logits_of_its_definition():
    state = public_resnet32(10)
    content = {"state_dict": {f"module.{name}": value for name, value in state.items()}}
    tensors = named_tensors(content, where="theirs.pt")
    assert detect_backbone(tensors, where="theirs.pt") == "resnet32"
    model = build_backbone("resnet32", 10, in_channels=3, seed=0).eval()
    matched = match_tensors(tensors, model, new_head=False, where="theirs.pt", backbone="resnet32")
    matched.load_into(model)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, features = model(images)
    expected = reference_logits(state, images)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))
    assert torch.equal(model.head.weight, state["linear.weight"])
    assert features.shape == (4, 64)
