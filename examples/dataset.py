"""Images of your own, however you keep them: written once, and named in a list for each split.

python examples/dataset.py folder
"""

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from marr_pipeline import PhaseOneRequest, extract, rectify_cache


def write_split(folder, split, images, labels):
    """Images (N, H, W) or (N, H, W, 3) of uint8, and labels (N,), numbers or names."""
    with (folder / f"{split}.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            name = f"{split}-{number}.png"
            Image.fromarray(image).save(folder / name)
            rows.writerow([name, label])


def main(folder):
    """From arrays to a table: lists, a training of a minute's part, a cache, a rectifier."""
    folder.mkdir(exist_ok=True)
    digits = load_digits()  # stands for yours
    images, labels = (255 / 16 * digits.images).astype(np.uint8), digits.target
    write_split(folder, "train", images[:1200], labels[:1200])
    write_split(folder, "test", images[1200:], labels[1200:])
    request = PhaseOneRequest(
        dataset="list",
        data_root=folder,
        list_train=folder / "train.csv",
        list_test=folder / "test.csv",
        imbalance_ratio=20,  # None takes the classes as they come
        image_size=8,
        backbone="resnet8",
        iterations=60,
        batch_size=64,
    )
    extract(request, output=folder / "cache.h5", views=1)
    print(rectify_cache(folder / "cache.h5").table())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
