"""One ResNet-18 as people hand it in: containers, wrappers, prefixes, precisions, formats, heads.

Each packaging gives the logits of the network that it was made of, or is refused with what to do.
The rows of docs/inputs.md, "Checkpoints and networks".
"""

import argparse
import copy
import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path, PosixPath

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from marr_pipeline.backbone import build_backbone
from marr_pipeline.backbone.checkpoints.foreign import trained_image_size
from marr_pipeline.backbone.checkpoints.matching import match_tensors
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.state_dict import named_tensors
from marr_pipeline.tensor_file import read_tensor_file

NUM_CLASSES = 7
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def resnet18(seed):
    """torchvision's own, with statistics that are not the initial ones."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = models.resnet18(num_classes=NUM_CLASSES).eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    return network


NETWORK, OTHER = resnet18(1), resnet18(2)
FRESH = build_backbone("torchvision:resnet18", NUM_CLASSES, in_channels=3, seed=0).eval()


def logits_of(network):
    with torch.no_grad():
        return network(IMAGES)


def state(prefix="", *, head="fc", network=NETWORK):
    return {
        prefix + (f"{head}.{name[3:]}" if name.startswith("fc.") else name): value
        for name, value in network.state_dict().items()
    }


def in_precision(dtype):
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in state().items()}


def with_head(head):
    network = copy.deepcopy(NETWORK)
    network.fc = head(network.fc)
    return network.state_dict()


def parts(prefix=""):
    body = {f"{prefix}{k}": v for k, v in state().items() if not k.startswith("fc.")}
    return {
        "feat_model": body,
        "classifier": {
            f"{prefix}fc.{k}": getattr(NETWORK.fc, k).detach() for k in ("weight", "bias")
        },
    }


def by_number():
    """The body as `nn.Sequential(*children)`, which torch's own tutorials build."""
    body = nn.Sequential(*list(NETWORK.children())[:-1])
    own = nn.ModuleDict({"feature_extractor": body, "classifier": NETWORK.fc})
    return {"state_dict": own.state_dict()}


class Lightning(nn.Module):
    """A module with its loss and a metric beside the network."""

    def __init__(self):
        super().__init__()
        self.model = NETWORK
        self.criterion = nn.CrossEntropyLoss(weight=torch.ones(NUM_CLASSES))
        self.register_buffer("train_acc_total", torch.tensor(5.0))


ARGUMENTS = argparse.Namespace(model="resnet18", lr=0.1, output=PosixPath("/tmp/x"), img_size=None)
HISTORY = defaultdict(list, {"acc": [np.float64(0.5), np.float32(0.25)]})
PACKAGINGS = {
    "bare": state(),
    "state_dict": {"state_dict": state(), "epoch": 3, "best_acc1": torch.tensor(0.5)},
    "timm": {"arch": "resnet18", "state_dict": state(), "args": ARGUMENTS, "metric": np.float64(7)},
    "torchvision": {"model": state(), "args": ARGUMENTS, "optimizer": {"state": {0: IMAGES}}},
    "model_state_dict": {"model_state_dict": state(), "loss": np.float32(0.5), "history": HISTORY},
    "model_state": {"model_state": state()},
    "params": {"params": state()},
    "net": {"net": state("module."), "acc": 91.2},
    "ema alone": {"ema": state()},
    "model_ema alone": {"model_ema": {"module": state(), "decay": 0.999}},
    "averaged model": torch.optim.swa_utils.AveragedModel(NETWORK).state_dict(),
    "parallel": nn.DataParallel(NETWORK).state_dict(),
    "compiled": torch.compile(NETWORK).state_dict(),
    "compiled and parallel": {"model": state("_orig_mod.module.")},
    "lightning": {"state_dict": Lightning().state_dict(), "hyper_parameters": {"lr": 0.1}},
    "resnet.": state("resnet."),
    "_model.": state("_model."),
    "student., flat": state("student."),
    "backbone and head.fc": state("backbone.")
    | {f"head.fc.{k}": v.detach() for k, v in NETWORK.fc.named_parameters()},
    "parts": parts("module."),
    "by number": by_number(),
    "fc.1": with_head(lambda fc: nn.Sequential(nn.Dropout(), fc)),
    "classifier": state(head="classifier"),
    "weight_norm": None,  # made below, as it warns
    "parametrised": with_head(lambda fc: nn.utils.parametrizations.weight_norm(copy.deepcopy(fc))),
    "half": in_precision(torch.float16),
    "bfloat16": in_precision(torch.bfloat16),
    "double": in_precision(torch.float64),
    "without counts of batches": {k: v for k, v in state().items() if "num_batches" not in k},
}
PACKAGINGS["backbone and head.fc"] = {
    k: v for k, v in PACKAGINGS["backbone and head.fc"].items() if not k.startswith("backbone.fc")
}


def weight_normed():
    with pytest.warns(FutureWarning, match="weight_norm"):
        return with_head(lambda fc: nn.utils.weight_norm(copy.deepcopy(fc)))


def load(path, *, weights=None):
    """The network of a file, as `extract` reads it, and what is said of it."""
    tensors = named_tensors(read_tensor_file(path), where="theirs", weights=weights)
    model = copy.deepcopy(FRESH)
    matched = match_tensors(tensors, model, new_head=False, where="theirs", backbone="resnet18")
    matched.load_into(model)
    return model, matched.notes


def saved(tmp_path, content):
    torch.save(content, tmp_path / "theirs.pth")
    return tmp_path / "theirs.pth"


@pytest.mark.parametrize("packaging", PACKAGINGS)
def test_its_logits_are_the_networks_own(tmp_path, packaging):
    content = PACKAGINGS[packaging] or weight_normed()
    model, _ = load(saved(tmp_path, content))
    rounded = {"half": torch.float16, "bfloat16": torch.bfloat16}.get(packaging)
    network = copy.deepcopy(NETWORK).to(rounded).float() if rounded else NETWORK
    with torch.no_grad():
        logits, _ = model(IMAGES)
    torch.testing.assert_close(logits, logits_of(network), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mapped", [True, False])
def test_a_file_by_torch_save_under_the_suffix_of_safetensors(tmp_path, mapped):
    torch.save(state(), tmp_path / "theirs.safetensors")
    found = read_tensor_file(tmp_path / "theirs.safetensors", mapped=mapped)
    assert all(torch.equal(found[name], value) for name, value in state().items())


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_safetensors_under_any_suffix(tmp_path, suffix):
    save_file(state("model."), tmp_path / f"theirs{suffix}")
    model, _ = load(tmp_path / f"theirs{suffix}")
    torch.testing.assert_close(model(IMAGES)[0], logits_of(NETWORK), rtol=1e-5, atol=1e-5)


def test_a_file_older_than_torch_1_6(tmp_path):
    torch.save(PACKAGINGS["timm"], tmp_path / "a.tar", _use_new_zipfile_serialization=False)
    assert torch.equal(load(tmp_path / "a.tar")[0].head.weight, NETWORK.fc.weight)


SEVERAL = {
    "state_dict and its average": (
        {"state_dict": state(network=OTHER), "state_dict_ema": state()},
        "state_dict_ema is taken and state_dict left",
        "state_dict",
    ),
    "model and its average": (
        {"model": state("module.", network=OTHER), "model_ema": {"module": state()}},
        "model_ema is taken and model left",
        "model",
    ),
    "last and best": (
        {"state_dict_best": state(network=OTHER), "state_dict": state()},
        "state_dict is taken and state_dict_best left",
        "state_dict_best",
    ),
    "student and teacher": (
        {"student": state(), "teacher": state(network=OTHER)},
        "student is taken and teacher left",
        "teacher",
    ),
    "both in one dict": (
        {"state_dict": state("model.", network=OTHER) | state("ema_model.")},
        "state_dict.ema_model is taken and state_dict.model left",
        "model",
    ),
}


@pytest.mark.parametrize("form", SEVERAL)
def test_of_several_one_is_taken_and_all_are_named(tmp_path, form):
    content, note, key = SEVERAL[form]
    path = saved(tmp_path, content)
    model, notes = load(path)
    assert notes == (f"of several networks in it, {note}; --weights chooses",)
    assert torch.equal(model.head.weight, NETWORK.fc.weight)
    chosen, notes = load(path, weights=key)
    assert notes == ()
    assert torch.equal(chosen.head.weight, OTHER.fc.weight)
    assert torch.equal(chosen.body.conv1.weight, OTHER.conv1.weight)


def test_one_network_under_two_names_is_one(tmp_path):
    assert load(saved(tmp_path, {"model": state(), "net": state()}))[1] == ()


def test_weights_that_are_not_there(tmp_path):
    path = saved(tmp_path, {"state_dict": state(), "model_ema": state()})
    with pytest.raises(ConfigError, match=r"--weights: .* state_dict, model_ema, got ema; choose"):
        load(path, weights="ema")


def test_the_head_of_one_network_is_not_given_to_another(tmp_path):
    body = {k: v for k, v in state().items() if not k.startswith("fc.")}
    with pytest.raises(DataError, match=r"one head, .* got none"):
        load(saved(tmp_path, {"student": body, "teacher": state(network=OTHER)}))


def test_what_is_no_part_of_the_network_is_named(tmp_path):
    _, notes = load(saved(tmp_path, PACKAGINGS["lightning"]))
    (note,) = notes
    assert note == (
        "left out, as no part of the resnet18: state_dict.train_acc_total, state_dict.criterion.*"
    )
    assert load(saved(tmp_path, PACKAGINGS["averaged model"]))[1] == (
        "left out, as no part of the resnet18: n_averaged",
    )


def neck(**more):
    return state("backbone.") | more


REFUSED = {
    "another layer of the head": (
        with_head(lambda fc: nn.Sequential(nn.Linear(512, 512), nn.ReLU(), fc)),
        "a head on the features themselves expected, got fc.0.weight, fc.0.bias beside fc.2.weight",
    ),
    "a scale in the head": (state() | {"fc.sigma": torch.ones(1)}, "got fc.sigma beside fc.weight"),
    "a neck": (
        state("base.") | {"neck.weight": torch.ones(512), "neck.bias": torch.ones(512)},
        "got neck.weight, neck.bias beside base.fc.weight, through which they may pass",
    ),
    "two heads": (
        state(head="main") | {"aux.weight": torch.ones(7, 512)},
        r"one head, a matrix \(7, 512\) called weight, expected, got main.weight, aux.weight; ",
    ),
    "more within the network": (
        state() | {"layer1.0.se.weight": torch.ones(64, 64)},
        r"1 unexpected \(layer1.0.se.weight\)",
    ),
    "a learned pooling": (state() | {"avgpool.p": torch.ones(1)}, r"1 unexpected \(avgpool.p\)"),
    "a layer's bias": (state() | {"conv1.bias": torch.ones(64)}, r"1 unexpected \(conv1.bias\)"),
    "a ResNet-34": (models.resnet34(num_classes=7).state_dict(), "unexpected .*layer1.2.conv1"),
    "a ResNet-50": (models.resnet50(num_classes=7).state_dict(), "of another shape"),
    "other classes": (
        models.resnet18(num_classes=5).state_dict(),
        "a head of 7 classes expected, as the data has, got fc.weight of 5",
    ),
    "features alone": (parts()["feat_model"], "one head, .* got none; give --new-head"),
    "a sparse tensor": (
        state() | {"fc.weight": NETWORK.fc.weight.detach().to_sparse()},
        "plain tensors expected, got fc.weight sparse",
    ),
    "not finite": (state() | {"bn1.bias": torch.full((64,), torch.nan)}, "finite weights .* bn1"),
    "logits": (torch.ones(3, 7), r"got a single tensor \(3, 7\); save .* `pipeline import --train"),
    "logits and labels": (
        (torch.ones(3, 7), torch.ones(3)),
        r"got a tuple of 2 \(\(3, 7\), \(3,\)\); save model.state_dict\(\), or logits and labels",
    ),
    "no tensors": ({"epoch": 3}, "a state dict, .* got the keys epoch; save model.state_dict"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_would_give_other_logits_is_refused(tmp_path, form):
    content, message = REFUSED[form]
    with pytest.raises(DataError, match=message):
        load(saved(tmp_path, content))


FILES = {
    "a pointer of Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 46830571\n",
        "got a Git LFS pointer in its place; fetch the file itself: git lfs pull",
    ),
    "a web page": (b"\n<!DOCTYPE html>\n<html lang=en>", "got a web page in its place; download"),
    "a web page without a type": (b"<html><body>404</body>", "got a web page in its place"),
    "a Keras file": (b"\x89HDF\r\n\x1a\n" + bytes(64), "got an HDF5 file; give the network's own"),
    "an empty file": (b"", "cut short or of another kind"),
    "half a file": (b"PK\x03\x04" + bytes(30), "cut short or of another kind"),
}


@pytest.mark.parametrize("form", FILES)
def test_what_is_no_checkpoint_is_told_by_its_content(tmp_path, form):
    content, message = FILES[form]
    for suffix in (".pth", ".safetensors"):
        path = tmp_path / f"theirs{suffix}"
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_tensor_file(path)


def converted(refusal, folder):
    """The network in the file that the line of Python in a refusal writes."""
    line = refusal[refusal.index("python -c") :]
    _, option, code = shlex.split(line)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", option, code], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return load(folder / "weights.pt")[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize(
    "form", ["module under a key", "objects beside", "NumPy arrays", "torchscript"]
)
def test_the_line_of_python_converts_the_file(tmp_path, form):
    path = tmp_path / "theirs.pt"
    if form == "torchscript":
        torch.jit.save(torch.jit.trace(NETWORK, IMAGES), path)
    else:
        content = {
            "module under a key": {"epoch": 3, "model": NETWORK, "ema": None},
            "objects beside": {
                "state_dict": state(),
                "scaler": np.arange(3),
                "cfg": {"a": slice(3)},
            },
            "NumPy arrays": {name: value.numpy() for name, value in state().items()},
        }[form]
        torch.save(content, path)
    with pytest.raises(DataError) as refused:
        read_tensor_file(path)
    named = {
        "torchscript": "a TorchScript program",
        "objects beside": "(numpy",
        "NumPy arrays": "(numpy",
    }
    assert named.get(form, "(torchvision.models.resnet.ResNet)") in str(refused.value)
    model = converted(str(refused.value), tmp_path)
    torch.testing.assert_close(model(IMAGES)[0], logits_of(NETWORK), rtol=1e-5, atol=1e-5)


class Touch:
    """What leaves a trace where a pickle is run."""

    def __init__(self, function, path):
        self.function, self.path = function, path

    def __reduce__(self):
        return self.function, (self.path,)


@pytest.mark.parametrize("function", [Path.touch, subprocess.getoutput, eval])
@pytest.mark.parametrize(
    "place", ["alone", "beside", "in a Namespace", "in a defaultdict", "a key"]
)
@pytest.mark.parametrize("zipped", [True, False])
def test_no_pickle_is_run(tmp_path, function, place, zipped):
    trace = tmp_path / "trace"
    argument = {
        Path.touch: trace,
        subprocess.getoutput: f"touch {trace}",
        eval: f"open({str(trace)!r}, 'w')",
    }.get(function, str(trace))
    hostile = Touch(function, argument)
    tensors = {"fc.weight": torch.ones(2, 2)}
    content = {
        "alone": hostile,
        "beside": {"state_dict": tensors, "more": hostile},
        "in a Namespace": {"args": argparse.Namespace(lr=hostile), "state_dict": tensors},
        "in a defaultdict": {"log": defaultdict(list, {"a": [hostile]}), "state_dict": tensors},
        "a key": {"state_dict": tensors, (1, hostile): 2},
    }[place]
    path = tmp_path / "theirs.pt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=r"got pickled .*only if you trust"):
        read_tensor_file(path)
    assert not trace.exists()


def test_a_factory_is_not_called(tmp_path):
    class Factory(defaultdict):
        def __reduce__(self):
            return defaultdict, (Touch(Path.touch, tmp_path / "trace"),)

    with pytest.raises(DataError, match="got pickled"):
        read_tensor_file(saved(tmp_path, {"log": Factory(), "fc.weight": IMAGES}))
    assert not (tmp_path / "trace").exists()


def test_allowed_values_are_read_as_plain_ones(tmp_path):
    read = read_tensor_file(saved(tmp_path, {"args": ARGUMENTS, "log": HISTORY}))
    assert read["args"].lr == 0.1
    assert str(read["args"].output) == "/tmp/x"
    assert type(read["log"]) is dict
    assert read["log"]["acc"] == [0.5, 0.25]


@pytest.mark.parametrize(
    ("content", "size"),
    [
        ({"args": argparse.Namespace(img_size=288, input_size=None)}, 288),
        ({"args": argparse.Namespace(img_size=None, input_size=[3, 256, 256])}, 256),
        ({"args": argparse.Namespace(train_crop_size=176)}, 176),
        ({"hyper_parameters": {"image_size": 96}}, 96),
        ({"args": ARGUMENTS}, None),
        ({"img_size": True}, None),
        (torch.ones(2), None),
    ],
)
def test_the_size_of_the_images_trained_on(content, size):
    assert trained_image_size(content) == size


def test_versions_of_layers_are_kept(tmp_path):
    """MNASNet refuses tensors that come without the version of their layers."""
    theirs = models.mnasnet0_5(num_classes=4).eval()
    tensors = named_tensors({"model": theirs.state_dict()}, where="theirs")
    model = build_backbone("torchvision:mnasnet0_5", 4, in_channels=3, seed=1).eval()
    match_tensors(tensors, model, new_head=False, where="a", backbone="b").load_into(model)
    with torch.no_grad():
        torch.testing.assert_close(model(IMAGES)[0], theirs(IMAGES))
