"""`cifar10-lt` and `cifar100-lt`: from image folders or from torchvision's own layout.

A data root with a folder `train` is read as image folders; the images in it may already be
long-tailed, as long as the ratio asked for is at least as steep. Any other root is handed to
torchvision, which reads `cifar-10-batches-py` or `cifar-100-python` and downloads it if absent.
"""

import contextlib
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import CIFAR10, CIFAR100

from marr_pipeline.data.folder import folder_source
from marr_pipeline.data.rows import Rows
from marr_pipeline.data.source import ArraySource, DatasetSource, SourceRequest
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.progress import Progress
from marr_pipeline.protocols import PROTOCOLS

ORIGINALS = {"cifar10-lt": CIFAR10, "cifar100-lt": CIFAR100}


def cifar_source(name: str, request: SourceRequest) -> DatasetSource:
    """CIFAR's images under the data root, undecoded.

    Args:
        name: `cifar10-lt` or `cifar100-lt`.
        request: root with `train/ [tune/] test/`, or torchvision's (made and filled if absent);
            CIFAR is 32 pixels wide, any other size is refused.

    Raises:
        ConfigError: no root was given, or another image size.
        DataError: the number of class folders is not the dataset's, or neither layout is there
            and the download failed.
    """
    data_root, protocol = request.data_root, PROTOCOLS[name]
    if data_root is None:
        raise ConfigError(f"--data-root: the folder of {name} expected, got none; give it")
    if request.image_size not in (None, protocol.image_size):
        raise ConfigError(
            f"image size: {protocol.image_size} pixels expected for {name}, got "
            f"{request.image_size}; "
            "use --dataset folder for another size"
        )
    if (data_root / "train").is_dir():
        found = folder_source(replace(request, image_size=protocol.image_size))
        if len(found.class_names) != protocol.num_classes:
            raise DataError(
                f"{data_root / 'train'}: {protocol.num_classes} class folders expected for {name}, "
                f"got {len(found.class_names)}; is this another dataset?"
            )
        return replace(found, name=name)
    return _original_source(name, data_root, request.progress)


def _original_source(name: str, data_root: Path, progress: Progress) -> DatasetSource:
    original = ORIGINALS[name]
    try:
        # torchvision talks on stdout, which is kept for results.
        with contextlib.redirect_stdout(sys.stderr):
            train = original(str(data_root), train=True, download=True)
            test = original(str(data_root), train=False, download=True)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{data_root}: image folders train/<class>/*.png and test/<class>/*.png or "
            f"torchvision's {original.base_folder}/ expected, got neither, and the download "
            f"failed ({error}); put one of the two there"
        ) from error
    progress(len(train.data) + len(test.data), len(train.data) + len(test.data), f"{name} read")
    return DatasetSource(
        name=name,
        class_names=tuple(train.classes),
        splits={
            split: ArraySource(
                labels=np.asarray(part.targets, dtype=np.int64), read=partial(_rows, part.data)
            )
            for split, part in (("train", train), ("test", test))
        },
    )


def _rows(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], rows: Rows) -> Tensor:
    """Rows of `pixels` (M, 32, 32, 3) as (N, 3, 32, 32)."""
    return torch.from_numpy(pixels[rows]).permute(0, 3, 1, 2).contiguous()
