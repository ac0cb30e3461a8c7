"""Real images for the tests that need them."""

import os
import zipfile
from collections import Counter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
# A fiftieth of the file's own training counts, so long-tailed at ratio 50 like the whole.
TRAIN_PER_CLASS = dict(enumerate((100, 64, 41, 27, 17, 11, 7, 4, 3, 2)))
TEST_PER_CLASS = 5


@pytest.fixture(scope="session")
def cifar10_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small part of CIFAR-10 as image folders: 276 training and 50 test images."""
    shared = Path(os.environ.get("MARR_DATA", REPOSITORY.parent / "shared" / "data"))
    archive = shared / "cifar10.zip"
    if not archive.is_file():
        pytest.skip(f"no {archive.name}; set MARR_DATA to the folder that has it")
    root = tmp_path_factory.mktemp("cifar10")
    taken: Counter[tuple[str, str]] = Counter()
    with zipfile.ZipFile(archive) as file:
        names = sorted(name for name in file.namelist() if name.endswith(".png"))
        classes = sorted({name.split("/")[2] for name in names})
        for name in names:
            _, split, class_name, _ = name.split("/")
            limits = (
                TRAIN_PER_CLASS if split == "train" else dict.fromkeys(range(10), TEST_PER_CLASS)
            )
            if taken[split, class_name] < limits[classes.index(class_name)]:
                taken[split, class_name] += 1
                file.extract(name, root)
    return root / "cifar10"
