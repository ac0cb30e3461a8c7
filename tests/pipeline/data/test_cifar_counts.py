"""The real CIFAR images against the published figures."""

import os
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from marr_pipeline.data import load_dataset
from marr_pipeline.data.dataset import differences_from_published
from marr_pipeline.data.folder import CIFAR_ORIGINALS
from marr_pipeline.data.longtail import long_tail_counts
from marr_pipeline.protocols import PROTOCOLS

REPOSITORY = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("MARR_DATA", REPOSITORY.parent / "shared" / "data"))
CIFAR = [(name, ratio) for name in CIFAR_ORIGINALS for ratio in PROTOCOLS[name].figures]


def archive(name):
    path = SHARED / f"{name.removesuffix('-lt')}.zip"
    if not path.is_file():
        pytest.skip(f"no {path.name}; set MARR_DATA to the folder that has it")
    return zipfile.ZipFile(path)


@pytest.mark.parametrize(("name", "ratio"), CIFAR)
def test_the_images_there_are_give_the_published_tail(name, ratio):
    with archive(name) as file:
        images = [path.split("/") for path in file.namelist() if path.endswith(".png")]
    found = Counter((split, class_name) for _, split, class_name, _ in images)
    available = np.array([found[key] for key in sorted(found) if key[0] == "train"])
    counts = long_tail_counts(available, ratio)
    sizes = {
        "train": int(counts.sum()),
        "test": sum(number for key, number in found.items() if key[0] == "test"),
    }
    figures = PROTOCOLS[name].figures[ratio]
    assert differences_from_published(figures, class_counts=counts, split_sizes=sizes) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10-lt", "cifar100-lt"])
def test_the_loaded_training_images_are_the_published_data(name, tmp_path):
    with archive(name) as file:
        # By place, not by name: CIFAR-100 has a class `train`.
        train = [path for path in file.namelist() if path.split("/")[1] == "train"]
        file.extractall(tmp_path, train)
    root = tmp_path / name.removesuffix("-lt")
    ratios = [ratio for other, ratio in CIFAR if other == name]
    before = None
    for ratio in sorted(ratios, reverse=True):
        data = load_dataset(name, data_root=root, imbalance_ratio=ratio)
        assert data.warnings == ()
        assert len(data.train) == PROTOCOLS[name].figures[ratio].images["train"]
        assert data.class_counts.tolist() == sorted(data.class_counts, reverse=True)
        assert before is None or before < set(data.train.ids)
        before = set(data.train.ids)
