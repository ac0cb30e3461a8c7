"""Features by weights that torchvision and timm publish, through the command line.

The weights are drawn here and put where the libraries keep what they have downloaded.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import models

from marr_pipeline.backbone import build_backbone, network_input
from marr_pipeline.cache import open_cache
from marr_pipeline.data.normalise import normalise

SMALL = "shufflenet_v2_x0_5"
WEIGHTS = models.get_model_weights(SMALL)["IMAGENET1K_V1"]
TIMM, TIMM_WEIGHTS = "timm:test_resnet", "timm/test_resnet.r160_in1k"


def paint(root, *, side, classes):
    rng = np.random.default_rng(0)
    for split, count in (("train", 2), ("test", 1)):
        for label in range(classes):
            folder = root / split / str(label)
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (side, side + side // 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.fixture
def photos(tmp_path):
    return paint(tmp_path / "photos", side=80, classes=2)


@pytest.fixture
def cifar(tmp_path):
    """A CIFAR-10 of thirty images, in memory at 32 pixels."""
    return paint(tmp_path / "cifar", side=32, classes=10)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """torchvision's weights of `SMALL`, as if they had been downloaded."""
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(1)
    network = models.get_model(SMALL, weights=None)
    torch.save(network.state_dict(), folder / WEIGHTS.url.rpartition("/")[2])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    network.fc = torch.nn.Identity()
    return network.eval()


def extract(run, root, output, *options, dataset="folder", backbone=f"torchvision:{SMALL}"):
    more = ("--imbalance-ratio", 1) if dataset == "cifar10-lt" else ()
    return run(
        *("extract", "--dataset", dataset, "--data-root", root, *more, "--workers", 0),
        *("--backbone", backbone, "--views", 0, *options, "-o", output),
    )


def test_features_are_those_of_torchvisions_own_transform(run, photos, published, tmp_path):
    done = extract(run, photos, tmp_path / "a.h5", "--pretrained", "--store", "features")
    assert done.code == 0, done.err
    framing = "224 pixels (short side 256 (bilinear), centre 224), normalised by 0.485,0.456,0.406/"
    assert framing in done.err
    assert "weights: ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1" in done.err
    cached = open_cache(tmp_path / "a.h5")
    assert cached.head is None
    split = cached.split("test")
    images = torch.stack([WEIGHTS.transforms()(Image.open(photos / path)) for path in split.ids])
    with torch.no_grad():
        expected = published(images)
    np.testing.assert_allclose(split.features.reshape(2, -1), expected, rtol=1e-3, atol=1e-5)
    origin = cached.meta("config")["checkpoint"]
    assert origin["weights"] == "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1"
    transform = cached.meta("transforms")["test"]
    assert transform["framing"]["resized"] == 256
    assert transform["normalisation"]["mean"] == [0.485, 0.456, 0.406]


def test_small_images_are_brought_to_the_networks_size(run, cifar, published, tmp_path):
    options = ("--pretrained", "--store", "features", "--image-size", 64, "--views", 1)
    done = extract(run, cifar, tmp_path / "a.h5", *options, dataset="cifar10-lt")
    assert done.code == 0, done.err
    assert "64 pixels (whole image to 64 (bilinear)), normalised by 0.485" in done.err
    cached = open_cache(tmp_path / "a.h5")
    assert cached.split("train").features.shape == (2, 20, 1024)
    clean, view = cached.split("train").features
    assert not np.array_equal(clean, view)
    own = network_input(f"torchvision:{SMALL}")
    first = Image.open(cifar / cached.split("test").ids[0]).crop((2, 0, 34, 32))
    resized = np.asarray(first.resize((64, 64), Image.Resampling.BILINEAR))
    pixels = torch.from_numpy(resized.copy()).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = published(normalise(pixels, own.normalisation))[0]
    found = torch.from_numpy(cached.split("test").features.reshape(10, -1)[0].copy())
    assert torch.corrcoef(torch.stack([found, expected]))[0, 1] > 0.999
    again = extract(run, cifar, tmp_path / "a.h5", *options, dataset="cifar10-lt")
    assert "already there" in again.err
    other = (*options[:3], "--image-size", 48, "--views", 1)
    stale = extract(run, cifar, tmp_path / "a.h5", *other, dataset="cifar10-lt")
    assert stale.code == 3
    assert "size" in stale.error


@pytest.mark.parametrize("store", ["both", "logits"])
def test_logits_of_other_classes_are_refused(run, photos, tmp_path, store):
    done = extract(run, photos, tmp_path / "a.h5", "--pretrained", "--store", store)
    assert done.code == 2
    assert (
        "weights of the 2 classes of folder expected for logits, got those of 1,000" in done.error
    )
    assert "give --store features, or train first: pipeline train --pretrained" in done.error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--epochs", 2), "--epochs: a training to come expected, got --pretrained"),
        (("--prior-counts", "train"), "got features alone; leave --prior-counts out"),
        (("--backbone", "resnet32"), "--backbone torchvision:NAME or timm:NAME beside it"),
        (("--backbone", "timm:resnet50.none"), "weights of timm's resnet50 expected, got"),
        (("--backbone", "timm:vit_tiny_patch16_224", "--image-size", 48), "got 48 x 48 pixels"),
    ],
)
def test_what_makes_no_sense_beside_published_weights(
    run, photos, published, tmp_path, options, message
):
    if "timm:" in str(options):
        pytest.importorskip("timm")
    done = extract(run, photos, tmp_path / "a.h5", "--pretrained", "--store", "features", *options)
    assert done.code == 2, done.err
    assert message in done.error


def test_a_dry_run_fetches_nothing_and_tells_the_size(run, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    options = ("--pretrained", "--store", "features", "--dry-run", "--json")
    done = extract(run, photos, tmp_path / "a.h5", *options)
    assert done.code == 0, done.err
    assert done.document["bytes"] == 6 * 1024 * 4
    assert done.document["seconds"] > 0
    assert not (tmp_path / "none").exists()


def test_offline_the_file_its_address_and_its_folder_are_named(run, photos, tmp_path, monkeypatch):
    def refuse(*given, **named):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    done = extract(run, photos, tmp_path / "a.h5", "--pretrained", "--store", "features")
    assert done.code == 1
    file = tmp_path / "torch" / "hub" / "checkpoints" / WEIGHTS.url.rpartition("/")[2]
    assert done.error.startswith(f"error: {file}: the weights ShuffleNet_V2_X0_5_Weights")
    assert f"no route to host; download {WEIGHTS.url} elsewhere and put it there" in done.error
    assert "Traceback" not in done.err
    assert not (tmp_path / "a.h5").exists()


def hub_file(home):
    """Where a download of `TIMM_WEIGHTS` would lie below HF_HOME."""
    folder = home / "hub" / f"models--{TIMM_WEIGHTS.replace('/', '--')}"
    return folder, folder / "snapshots" / "0" / "model.safetensors"


def offline(home, *arguments):
    """A process of its own, since the hub reads its settings once."""
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "marr_pipeline", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def timm_arguments(root, output, *options):
    return (
        *("extract", "--dataset", "folder", "--data-root", root, "--workers", 0, "--views", 0),
        *("--backbone", TIMM, "--store", "features", *options, "-o", output),
    )


def test_timms_weights_come_from_the_hubs_cache_or_a_file(run, photos, tmp_path):
    timm = pytest.importorskip("timm")
    folder, file = hub_file(tmp_path / "home")
    code, said = offline(
        tmp_path / "home", *timm_arguments(photos, tmp_path / "a.h5", "--pretrained")
    )
    assert code == 1
    (line,) = said.splitlines()
    assert line.startswith(f"error: {folder}: model.safetensors of the weights {TIMM_WEIGHTS} exp")
    address = f"https://huggingface.co/{TIMM_WEIGHTS}/resolve/main/model.safetensors"
    assert f"download {address} elsewhere and give it as --checkpoint" in line

    file.parent.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0")
    torch.manual_seed(2)
    save_file(timm.create_model("test_resnet").state_dict(), file)
    code, said = offline(
        tmp_path / "home", *timm_arguments(photos, tmp_path / "a.h5", "--pretrained")
    )
    assert code == 0, said
    assert f"weights: {TIMM_WEIGHTS}" in said
    done = run(*timm_arguments(photos, tmp_path / "b.h5", "--checkpoint", file))
    assert done.code == 0, done.err
    assert "the head is left out, as features alone are stored" in done.err
    one, other = open_cache(tmp_path / "a.h5"), open_cache(tmp_path / "b.h5")
    np.testing.assert_array_equal(one.split("test").features, other.split("test").features)
    assert one.meta("transforms") == other.meta("transforms")
    assert one.head is other.head is None


def test_a_checkpoint_of_other_classes_gives_features_alone(run, tmp_path):
    network = build_backbone("resnet8", 1000, in_channels=1, seed=3)
    torch.save(network.state_dict(), tmp_path / "theirs.pt")
    arguments = ("extract", "--dataset", "digits-lt", "--views", 0)
    arguments += ("--checkpoint", tmp_path / "theirs.pt", "-o", tmp_path / "a.h5")
    done = run(*arguments)
    assert done.code == 3
    assert "a head of 10 classes expected" in done.error
    done = run(*arguments, "--store", "features", "--json")
    assert done.code == 0, done.err
    (warning,) = done.document["warnings"]
    assert warning.startswith("the head is left out, as features alone are stored: ")
    assert warning.endswith("got head.weight of 1000")
    assert open_cache(tmp_path / "a.h5").head is None


def test_with_features_alone_a_head_of_the_datas_classes_is_kept(run, tmp_path):
    network = build_backbone("resnet8", 10, in_channels=1, seed=3)
    torch.save(network.state_dict(), tmp_path / "theirs.pt")
    done = run(
        *("extract", "--dataset", "digits-lt", "--views", 0, "--store", "features"),
        *("--checkpoint", tmp_path / "theirs.pt", "-o", tmp_path / "a.h5"),
    )
    assert done.code == 0, done.err
    head = open_cache(tmp_path / "a.h5").head
    np.testing.assert_array_equal(head.weight, network.head.weight.detach())
