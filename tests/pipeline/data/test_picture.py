"""Pictures in bulk: what Pillow says of them, and the memory that they take."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from marr_pipeline.data import AUGMENTATIONS, load_dataset
from marr_pipeline.data.picture import Decoding
from marr_pipeline.data.views import ViewPass
from marr_pipeline.errors import ConfigError
from marr_pipeline.workflows.phase_one import describe_pictures

REMARK = "Palette images with Transparency expressed in bytes should be converted to RGBA images"


def save_odd(path):
    """A picture that Pillow warns of."""
    path.parent.mkdir(parents=True, exist_ok=True)
    odd = Image.new("P", (80, 80))
    odd.putpalette([7, 8, 9] * 256)
    odd.save(path, transparency=bytes([0, 128]))


@pytest.fixture
def odd_folder(tmp_path):
    for number in range(7):
        save_odd(tmp_path / "train" / "a" / f"{number}.png")
    Image.new("RGB", (80, 80), (7, 8, 9)).save(tmp_path / "train" / "a" / "plain.png")
    return tmp_path


SAID = [
    f"warning: folder, split train: read, but of 7 images Pillow says '{REMARK}': "
    "train/a/0.png, train/a/1.png, train/a/2.png, train/a/3.png, train/a/4.png and 2 more"
]


def test_what_pillow_warns_of_in_small_images_is_summed_up(odd_folder, recwarn):
    data = load_dataset("folder", data_root=odd_folder)
    assert describe_pictures(data) == SAID
    assert not recwarn.list
    assert (data.train.images.numpy() == np.array([7, 8, 9])[:, None, None]).all()


@pytest.mark.parametrize("workers", [0, 1])
def test_and_in_large_ones_when_they_are_read(odd_folder, workers, recwarn, capfd):
    data = load_dataset("folder", data_root=odd_folder, image_size=72, workers=workers)
    assert describe_pictures(data) == []
    passes = [ViewPass(rows=torch.arange(8), bounds=(0, 3, 8), view=None)] * 2
    batches = data.train.batches(
        passes, augmentation=AUGMENTATIONS["none"], device=torch.device("cpu")
    )
    assert len(list(batches)) == 4
    assert describe_pictures(data) == SAID
    assert not recwarn.list
    assert REMARK not in capfd.readouterr().err


@pytest.mark.parametrize("text", ["0", "5,5", "9,1", "0,inf", "nan,1", "low,high", "1,2,3"])
def test_a_pixel_range_is_own_or_two_ascending_numbers(text):
    with pytest.raises(ConfigError, match=f"--pixel-range: own, or LOW,HIGH .*got {text};"):
        Decoding(pixel_range=text)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digits-lt", {"decoding": Decoding(exif=True)}, "--exif: none expected for digits-lt"),
        ("list", {"val_is": "test"}, "--val-is: none expected for list, got one; it is for folder"),
        ("imagenet-lt", {"class_order": ("a", "b")}, "--class-order: none expected for imagenet-l"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(name, options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        load_dataset(name, data_root=tmp_path, **options)


def memory(field):
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(field)[1].split()[0])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is Linux's to say")
def test_small_images_take_their_bytes_and_little_more(tmp_path):
    rng = np.random.default_rng(0)
    for label in "ab":
        folder = tmp_path / "train" / label
        folder.mkdir(parents=True)
        image = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        image.save(folder / "0.bmp")
        for number in range(1, 4000):
            os.link(folder / "0.bmp", folder / f"{number}.bmp")
    load = {"data_root": tmp_path, "image_size": 64}
    whole = load_dataset("folder", **load, decodes=False)
    num_bytes = whole.train.images.numel()
    assert num_bytes == 8000 * 64 * 64 * 3
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS:")
    data = load_dataset("folder", **load)
    taken = memory("VmHWM:") - before
    assert 0.9 * num_bytes < taken < 1.4 * num_bytes, taken / num_bytes
    assert data.normalisation != whole.normalisation
    assert replace(whole, train=data.train, normalisation=data.normalisation).record() == (
        data.record()
    )
