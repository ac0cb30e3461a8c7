"""The real CIFAR images against the published figures."""

import os
import zipfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from marr_pipeline.data import load_dataset
from marr_pipeline.data.dataset import differences_from_published
from marr_pipeline.data.longtail import long_tail_counts
from marr_pipeline.data.packaged import CIFAR_ORIGINALS, cifar_source
from marr_pipeline.data.source import SourceRequest
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
@pytest.mark.parametrize("name", CIFAR_ORIGINALS)
def test_the_steepest_tail_of_the_real_images_is_loaded_and_lies_in_the_others(name, tmp_path):
    root = tmp_path / name.removesuffix("-lt")
    with archive(name) as file:
        # By place, not by name: CIFAR-100 has a class `train`.
        train = [path for path in file.namelist() if path.split("/")[1] == "train"]
        for folder in {Path(path).parent for path in train}:
            (tmp_path / folder).mkdir(parents=True)
        for path in train:
            (tmp_path / path).touch()
        source = cifar_source(name, SourceRequest(data_root=root))
        ratios = sorted((ratio for other, ratio in CIFAR if other == name), reverse=True)
        drawn = [source.draw_rows(each, tune_fraction=0, data_seed=0)["train"] for each in ratios]
        for smaller, larger in pairwise(drawn):
            assert set(smaller) < set(larger)
        ids = source.splits["train"].files.ids
        file.extractall(tmp_path, [f"{root.name}/{ids[row]}" for row in drawn[0]])
    data = load_dataset(name, data_root=root, imbalance_ratio=ratios[0])
    assert data.warnings == ()
    assert data.train.ids == tuple(ids[row] for row in drawn[0])
    assert data.class_counts.tolist() == sorted(data.class_counts, reverse=True)
