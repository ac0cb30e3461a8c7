"""Image trees with list files, made in the test."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Lines = Sequence[str]


@pytest.fixture
def write_list(tmp_path: Path) -> Callable[..., Path]:
    """Write lines to a list file under the test's folder."""

    def write(*lines: str, name: str = "train.txt") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def paint_all(tmp_path: Path) -> Callable[..., None]:
    """Make the images of list lines: noise around a grey that is the label's."""

    def paint(*lines: str, size: tuple[int, int] = (90, 70)) -> None:
        rng = np.random.default_rng(len(lines))
        for line in lines:
            path, label = line.split()
            noise = rng.integers(0, 60, (size[1], size[0], 3)) + 40 * int(label)
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise.astype(np.uint8)).save(tmp_path / path)

    return paint
