from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
from caches import plan_of, sum_anew, write_splits
from resumable import PLAN

from marr_pipeline.cache import CacheWriter, Head, SplitArrays
from marr_pipeline.cache.sealed import write_seal

NUM_CLASSES = 4
NUM_FEATURES = 3
PARTS = {"weights": "abc", "transforms": {"mean": [0.4], "flip": True}}
META = {"config": {"seed": 3, "name": "Zürich"}, "indices": [5, 1]}


@pytest.fixture
def head() -> Head:
    generator = np.random.default_rng(1)
    return Head.from_linear(
        generator.standard_normal((NUM_CLASSES, NUM_FEATURES)).astype(np.float32),
        generator.standard_normal(NUM_CLASSES).astype(np.float32),
        np.array([40, 20, 8, 2]),
    )


@pytest.fixture
def splits() -> dict[str, SplitArrays]:
    """Two views with string ids for train, one view with integer ids for test."""
    generator = np.random.default_rng(2)

    def rows(num_views: int, num_samples: int, width: int) -> np.ndarray:
        return generator.standard_normal((num_views, num_samples, width), dtype=np.float32)

    return {
        "train": SplitArrays(
            logits=rows(2, 9, NUM_CLASSES),
            labels=generator.integers(0, NUM_CLASSES, 9),
            features=rows(2, 9, NUM_FEATURES),
            ids=[f"straße/{index}.png" for index in range(9)],
            views=("clean", "augmented"),
        ),
        "test": SplitArrays(
            logits=rows(1, 5, NUM_CLASSES),
            labels=generator.integers(0, NUM_CLASSES, 5),
            ids=np.arange(100, 105),
        ),
    }


@pytest.fixture
def settings(head: Head) -> dict[str, object]:
    """Everything a writer needs but the path and the splits."""
    return {
        "class_counts": np.array([40, 20, 8, 2]),
        "head": head,
        "class_names": ["cat", "dög", "", "owl"],
        "parts": PARTS,
        "meta": META,
        "creator": "tests 1.0",
        "libraries": {"torch": "2.6"},
    }


@pytest.fixture
def sample(tmp_path: Path, splits, settings) -> Path:
    """A sealed cache with everything the format knows."""
    path = tmp_path / "sample.h5"
    write_splits(path, splits, **settings)
    return path


@pytest.fixture
def flip(sample: Path) -> Callable[[int], None]:
    """Flip one bit of the sample at an offset."""

    def flip_at(offset: int) -> None:
        content = bytearray(sample.read_bytes())
        content[offset] ^= 0x04
        sample.write_bytes(content)

    return flip_at


@pytest.fixture
def reseal(sample: Path) -> Callable[[], None]:
    """Put a new seal behind the sample as it is now, so that readers look further."""

    def append_seal() -> None:
        with sample.open("r+b") as file:
            write_seal(file.fileno(), [])

    return append_seal


@pytest.fixture
def edit(sample: Path, reseal) -> Callable[[], AbstractContextManager[h5py.File]]:
    """Change the sample through h5py and seal it anew, with new checksums if they can be had."""

    @contextmanager
    def editing(*, sums: bool = True) -> Iterator[h5py.File]:
        with h5py.File(sample, "r+") as file:
            yield file
        sum_anew(sample) if sums else reseal()

    return editing


@pytest.fixture
def make(tmp_path: Path, settings) -> Callable[..., CacheWriter]:
    """A resumable writer of `x.h5`."""

    def make_writer(**options: object) -> CacheWriter:
        of_plan = {"splits": {"train": PLAN}, **settings, **options}
        of_writer = {name: of_plan.pop(name) for name in ("overwrite", "resume") if name in of_plan}
        return CacheWriter(tmp_path / "x.h5", plan_of(**of_plan), resumable=True, **of_writer)

    return make_writer
