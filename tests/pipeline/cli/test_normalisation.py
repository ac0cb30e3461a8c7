"""The normalisation and the image size that a network asks for, through the command line."""

import numpy as np
import pytest
import torch
from PIL import Image

from marr_pipeline.backbone import build_backbone
from marr_pipeline.backbone.checkpoints.checkpoint import load_checkpoint
from marr_pipeline.cache import open_cache

DIGITS = ("--dataset", "digits-lt")
SHORT = (*DIGITS, "--iterations", 2, "--batch-size", 16)


@pytest.fixture
def theirs(tmp_path):
    state = build_backbone("resnet8", 10, in_channels=1, seed=3).state_dict()
    torch.save({"state_dict": state}, tmp_path / "theirs.pt")
    return tmp_path / "theirs.pt"


def test_a_foreign_network_sees_the_pixels_as_it_is_said(run, theirs, tmp_path):
    arguments = ("extract", *DIGITS, "--checkpoint", theirs, "--views", 0)
    output = tmp_path / "dataset.h5"
    assert run(*arguments, "-o", output).code == 0
    assert "already there" in run(*arguments, "--normalisation", "dataset", "-o", output).err
    stale = run(*arguments, "--normalisation", "half", "-o", output)
    assert stale.code == 3
    assert "normalisation" in stale.error
    done = run(*arguments, "--normalisation", "half", "-o", tmp_path / "half.h5")
    assert done.code == 0, done.err
    assert "resnet8 on cpu; digits-lt at 8 pixels, normalised by 0.5/0.5" in done.err
    own, half = open_cache(output), open_cache(tmp_path / "half.h5")
    pixels = [each.meta("transforms")["test"]["normalisation"] for each in (own, half)]
    assert pixels[1] == {"mean": [0.5], "std": [0.5]} != pixels[0]
    assert not np.array_equal(own.split("test").logits, half.split("test").logits)


@pytest.fixture
def trained(run, tmp_path):
    """A checkpoint of ours, trained on pixels in [-1, 1]."""
    done = run("train", *SHORT, "--normalisation", "0.5/0.5", "-o", tmp_path / "ours.pt")
    assert done.code == 0, done.err
    assert "seed 0; normalised by 0.5/0.5" in done.err
    return tmp_path / "ours.pt"


def test_training_keeps_its_normalisation(run, trained, tmp_path):
    dataset = load_checkpoint(trained).record.config["dataset"]
    assert dataset["normalisation"] == {"mean": [0.5], "std": [0.5]}
    assert dataset["own_normalisation"] is False
    arguments = (*DIGITS, "--checkpoint", trained, "--views", 0)
    for number, options in enumerate(((), ("--normalisation", "half"))):
        done = run("extract", *arguments, *options, "-o", tmp_path / f"{number}.h5")
        assert done.code == 0, done.err
    first, second = (open_cache(tmp_path / f"{number}.h5") for number in range(2))
    assert first.fingerprint == second.fingerprint
    assert first.meta("transforms")["test"]["normalisation"] == dataset["normalisation"]
    again = run("train", *SHORT, "-o", trained)
    assert again.code == 3
    assert "dataset.own_normalisation False, asked None" in again.error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--normalisation 0.4/0.5", "--normalisation: 0.5/0.5 expected, with which {} was"),
        ("--normalisation dataset", "--normalisation: 0.5/0.5 expected, with which {} was"),
        ("--image-size 16", "--image-size: 8 expected, with which {} was trained"),
        ("--epochs 3", "--epochs: 0.06 expected, with which {} was trained"),
    ],
)
def test_what_contradicts_a_checkpoint_of_ours_is_exit_3(run, trained, tmp_path, options, message):
    arguments = (*DIGITS, "--checkpoint", trained, *options.split())
    done = run("extract", *arguments, "-o", tmp_path / "a.h5")
    assert done.code == 3
    assert message.format(trained) in done.error
    assert not (tmp_path / "a.h5").exists()


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("test", 1)):
        for label in range(2):
            folder = tmp_path / "photos" / split / str(label)
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("options", "side"),
    [
        ((), 32),
        (("--backbone", "resnet10"), 224),
        (("--backbone", "resnet10", "--image-size", 48), 48),
    ],
)
def test_the_network_says_how_large_images_of_a_folder_are(run, photos, tmp_path, options, side):
    arguments = ("--dataset", "folder", "--data-root", photos, "--iterations", 1, "--workers", 0)
    done = run("train", *arguments, *options, "-o", tmp_path / "a.pt")
    assert done.code == 0, done.err
    record = load_checkpoint(tmp_path / "a.pt").record.config
    assert record["dataset"]["image_size"] == [side, side]


def test_a_detected_network_says_it_too(run, photos, tmp_path):
    state = build_backbone("resnet10", 2, in_channels=3, seed=0).state_dict()
    torch.save(state, tmp_path / "theirs.pt")
    done = run(
        *("extract", "--dataset", "folder", "--data-root", photos, "--workers", 0, "--views", 0),
        *("--checkpoint", tmp_path / "theirs.pt", "--dry-run", "-o", tmp_path / "a.h5"),
    )
    assert done.code == 0, done.err
    expected = "resnet10 on cpu; folder at 224 pixels, normalised by 0.485,0.456,0.406/"
    assert expected in done.err


@pytest.mark.parametrize(
    ("content", "options", "guesses"),
    [
        ({}, "", "at 224 pixels, normalised by 0.485,0.456,0.406/0.229,0.224,0.225; "
        "say --image-size and --normalisation"),
        ({}, "--normalisation half", "at 224 pixels; say --image-size"),
        ({}, "--image-size 32 --normalisation imagenet", None),
        ({"img_size": 32}, "--normalisation half", None),
    ],
)  # fmt: skip
def test_what_is_guessed_of_its_images_is_a_warning(
    run, photos, tmp_path, content, options, guesses
):
    state = build_backbone("resnet10", 2, in_channels=3, seed=0).state_dict()
    torch.save({"state_dict": state, **content}, tmp_path / "theirs.pt")
    done = run(
        *("extract", "--dataset", "folder", "--data-root", photos, "--prior-counts", "train"),
        *("--checkpoint", tmp_path / "theirs.pt", "--workers", 0, "--dry-run", "-q"),
        *(*options.split(), "-o", tmp_path / "a.h5"),
    )
    assert done.code == 0, done.err
    if guesses is None:
        assert "warning" not in done.err
    else:
        assert f"in training is not known; here they are {guesses}\n" in done.err


def test_timms_own_normalisation_is_taken_and_recorded(run, photos, tmp_path):
    pytest.importorskip("timm")
    arguments = ("--dataset", "folder", "--data-root", photos, "--backbone", "timm:test_resnet")
    options = ("--iterations", 1, "--workers", 0, "-o", tmp_path / "a.pt")
    done = run("train", *arguments, *options)
    assert done.code == 0, done.err
    dataset = load_checkpoint(tmp_path / "a.pt").record.config["dataset"]
    assert dataset["image_size"] == [160, 160]
    assert dataset["normalisation"] == {"mean": [0.5] * 3, "std": [0.5] * 3}
    done = run("train", *arguments, "--normalisation", "dataset", *options)
    assert done.code == 3
    assert "own_normalisation False, asked None" in done.error
