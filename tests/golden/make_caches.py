"""How `caches/` was made, once, by version 0.1.0; its files are never made again.

The digits are of a brief training, `extract --dataset digits-lt --iterations 60 --batch-size 64
--views 2`. The tail is synthetic: 100 classes in no order of frequency, three of them without a
training image, features of a clean and two augmented views, and a tune split.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

CACHES = Path(__file__).parent / "caches"
NUM_CLASSES, NUM_FEATURES, ABSENT = 100, 16, [7, 40, 93]
PER_CLASS = {"tune": 3, "test": 4}
TRAINING = ["--iterations", "60", "--batch-size", "64", "--views", "2"]
RECTIFIERS = {"marr": ["--preset", "paper"], "crt": [], "disalign": []}


def pipeline(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "pipeline", *map(str, arguments)], check=True)


def write_tail(folder: Path) -> None:
    """The arrays that `import` makes the synthetic cache of."""
    generator = np.random.default_rng(0)
    counts = generator.permutation(np.geomspace(60, 1, NUM_CLASSES).astype(int))
    counts[ABSENT] = 0
    means = generator.normal(size=(NUM_CLASSES, NUM_FEATURES))
    weight = (means * (0.6 + 0.1 * np.log1p(counts))[:, None]).astype(np.float32)
    bias = (0.5 * np.log1p(counts) - 0.5 * (means * weight).sum(1)).astype(np.float32)
    np.savez(folder / "head.npz", weight=weight, bias=bias)

    def write(split: str, labels: npt.NDArray[np.int64], views: list[str]) -> None:
        sample = means[labels] + 0.8 * generator.normal(size=(len(labels), NUM_FEATURES))
        jitter = 0.3 * generator.normal(size=(len(views), *sample.shape))
        features = (sample + jitter * (np.array(views) != "clean")[:, None, None]).astype("f4")
        logits = features @ weight.T + bias
        ids = [f"{split}/{row:04}" for row in range(len(labels))]
        arrays = {"logits": logits, "features": features, "labels": labels, "ids": ids}
        np.savez(folder / f"{split}.npz", views=views, **arrays)

    classes = np.arange(NUM_CLASSES)
    write("train", np.repeat(classes, counts), ["clean", "augmented", "augmented"])
    for split, size in PER_CLASS.items():
        write(split, np.repeat(classes, size), ["clean"])


def main() -> None:
    CACHES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        digits = folder / "digits.h5"  # its checkpoint stays behind
        pipeline("extract", "--dataset", "digits-lt", *TRAINING, "-o", digits)
        digits.rename(CACHES / "digits.h5")
        write_tail(folder)
        files = [f"--{name}={folder / name}.npz" for name in ("train", "tune", "test", "head")]
        pipeline("import", *files, "-o", CACHES / "tail.h5")
    for method, options in RECTIFIERS.items():
        output = CACHES / f"{method}.safetensors"
        pipeline("rectify", CACHES / "digits.h5", "--method", method, *options, "-o", output)


if __name__ == "__main__":
    main()
