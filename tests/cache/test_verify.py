"""One flipped byte is found, and only its dataset is named."""

import os
import re

import h5py
import numpy as np
import pytest
from caches import plan_of

from marr_pipeline.cache import CacheWriter, SplitPlan, verify_cache
from marr_pipeline.cache.schema import CHECKSUM_BYTES

RAW = [
    "class_counts",
    "head/weight_norm",
    "head/weight",
    "head/bias",
    "head/prior_counts",
    "splits/train/labels",
    "splits/train/logits",
    "splits/train/features",
    "splits/test/labels",
    "splits/test/logits",
    "splits/test/ids",
    "splits/train/ids",
]
STRINGS = ["class_names", "meta/config", "meta/indices", "meta/parts"]


def test_these_are_all_datasets(sample):
    found = []
    with h5py.File(sample, "r") as file:
        file.visititems(lambda name, item: found.append(name) if hasattr(item, "dtype") else None)
    names = RAW + STRINGS
    assert sorted(found) == sorted(names + [f"checksums/{name}" for name in names])


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("where", [0, -1])
def test_a_flipped_byte_of_raw_rows(sample, flip, name, where):
    with h5py.File(sample, "r") as file:
        dataset = file[name]
        offset, size = dataset.id.get_offset(), dataset.nbytes
    flip(offset + where % size)
    assert [(d.dataset, d.start, d.stop) for d in verify_cache(sample)] == [(name, 0, size)]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("class_names", "dög"),
        ("meta/config", '"seed":3'),
        ("meta/indices", "[5,1]"),
        ("meta/parts", '"flip":true'),
    ],
)
def test_a_flipped_byte_of_a_string(sample, flip, reseal, name, part):
    flip(sample.read_bytes().index(part.encode()) + 2)
    reseal()
    assert [d.dataset for d in verify_cache(sample)] == [name]


@pytest.mark.parametrize("name", RAW + STRINGS)
def test_a_flipped_byte_of_a_checksum(sample, flip, reseal, name):
    with h5py.File(sample, "r") as file:
        offset = file[f"checksums/{name}"].id.get_offset()
    flip(offset + 1)
    reseal()
    assert [d.dataset for d in verify_cache(sample)] == [name]


@pytest.mark.parametrize("part", ["tests 1.0", "clean"])
def test_a_flipped_byte_of_an_attribute(sample, flip, reseal, part):
    flip(sample.read_bytes().index(part.encode()) + 1)
    reseal()
    assert [d.dataset for d in verify_cache(sample)] == ["attributes"]


def test_the_damaged_stretch_is_named(tmp_path):
    path = tmp_path / "long.h5"
    rows = 3 * CHECKSUM_BYTES // 400 + 17
    plan = SplitPlan(num_samples=rows, views=("augmented",))
    with CacheWriter(path, plan_of({"train": plan}, num_classes=100)) as writer:
        writer.write_labels("train", np.zeros(rows, np.int64))
        block = np.ones((rows, 100), np.float32)
        writer.write_block("train", view=0, start=0, logits=block, features=None)
    with h5py.File(path, "r") as file:
        offset = file["splits/train/logits"].id.get_offset()
    descriptor = os.open(path, os.O_RDWR)
    os.pwrite(descriptor, b"\x01", offset + CHECKSUM_BYTES)
    os.pwrite(descriptor, b"\x01", offset + rows * 400 - 1)
    os.close(descriptor)
    found = verify_cache(path)
    assert [(d.start, d.stop) for d in found] == [
        (CHECKSUM_BYTES, 2 * CHECKSUM_BYTES),
        (3 * CHECKSUM_BYTES, rows * 400),
    ]
    assert str(found[0]).startswith("splits/train/logits: bytes 4194304..8388608: CRC-32 ")


@pytest.mark.parametrize(
    ("name", "values", "dataset", "reason"),
    [
        ("head/bias", None, "head/bias", "a checksum is stored, but no dataset"),
        ("checksums/head/bias", None, "head/bias", "CRC-32 none stored expected"),
        ("class_names", ["cat"], "class_names", "CRC-32 .* expected, got"),
    ],
)
def test_a_dataset_removed_or_changed(sample, edit, name, values, dataset, reason):
    with edit(sums=False) as file:
        del file[name]
        if values is not None:
            file[name] = values
    (damage,) = verify_cache(sample)
    assert damage.dataset == dataset
    assert re.search(reason, damage.reason)


def test_progress_ends_at_the_total(sample):
    calls = []
    assert verify_cache(sample, progress=lambda *call: calls.append(call)) == []
    done, total, _ = calls[-1]
    assert done == total > 0
    assert [call[0] for call in calls] == sorted(call[0] for call in calls)
    assert {call[2] for call in calls} == {*RAW, *STRINGS, "attributes"}
