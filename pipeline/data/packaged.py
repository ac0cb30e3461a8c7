"""Small benchmarks that a package hands over decoded.

`digits-lt` is scikit-learn's 8 x 8 grey digits and needs no file and no network. 1,797 images, 174
to 183 a class. 40 a class are drawn first as a balanced test split, which leaves 134 to 143 a
class; at a ratio of 20, the protocol's, the training counts are then 143, 102, 73, 52, 37, 27, 19,
13, 9, 7: two many-shot, four medium-shot and four few-shot classes. A larger test split or a
steeper ratio would leave fewer than two classes above 100 images.

`cifar10-lt` and `cifar100-lt` are read as folders where the data root has a folder `train`; the
images in it may already be long-tailed, as long as the ratio asked for is at least as steep. Any
other root is handed to torchvision, which reads `cifar-10-batches-py` or `cifar-100-python`, and
where that is absent downloads it if it is asked to.
"""

import contextlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torchvision.datasets import CIFAR10, CIFAR100

from marr_pipeline.data.folder import folder_source
from marr_pipeline.data.longtail import select_rows
from marr_pipeline.data.picture import AS_STORED
from marr_pipeline.data.source import ArraySource, DatasetSource, SourceRequest
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.protocols import PROTOCOLS

CIFAR_ORIGINALS = {"cifar10-lt": CIFAR10, "cifar100-lt": CIFAR100}
TEST_IMAGES_PER_CLASS = 40
LARGEST_PIXEL = 16  # scikit-learn counts set bits in 4 x 4 blocks: 0..16


def digits_source(request: SourceRequest) -> DatasetSource:
    """The digits with a balanced test split drawn from the data seed; pixels scaled to 0..255.

    Root and image size have no meaning here: the images are embedded and stay 8 x 8.
    """
    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    scaled = np.rint(bunch.images * (255.0 / LARGEST_PIXEL)).astype(np.uint8)
    images = torch.from_numpy(scaled)[:, None]
    test_rows = select_rows(labels, np.full(10, TEST_IMAGES_PER_CLASS), request.data_seed)
    train_rows = np.setdiff1d(np.arange(len(labels)), test_rows)
    request.progress(len(labels), len(labels), "digits read")

    return DatasetSource(
        name="digits-lt",
        class_names=tuple(str(digit) for digit in range(10)),
        splits={
            "train": ArraySource(labels=labels, images=images, candidates=train_rows),
            "test": ArraySource(labels=labels, images=images, candidates=test_rows),
        },
    )


def cifar_source(name: str, request: SourceRequest) -> DatasetSource:
    """CIFAR's images under the data root, undecoded.

    Args:
        name: `cifar10-lt` or `cifar100-lt`.
        request: root with `train/ [tune/] test/`, or torchvision's, filled with `download`. CIFAR
            is 32 pixels wide, any other size is refused.

    Raises:
        ConfigError: no root was given, or another image size.
        DataError: the number of class folders is not the dataset's, or neither layout is there
            whole and no download was asked for, or it failed.
    """
    data_root, protocol = request.root(f"the folder of {name}"), PROTOCOLS[name]
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
    if request.val_is or request.class_order or request.decoding != AS_STORED:
        raise ConfigError(
            f"--val-is, --class-order, --exif, --pixel-range: image folders in {data_root} "
            f"expected beside them, got torchvision's {name}; leave them out"
        )
    return _original_source(name, data_root, request)


def _original_source(name: str, data_root: Path, request: SourceRequest) -> DatasetSource:
    original = CIFAR_ORIGINALS[name]
    try:
        # torchvision talks on stdout, which is kept for results.
        with contextlib.redirect_stdout(sys.stderr):
            train = original(str(data_root), train=True, download=request.download)
            test = original(str(data_root), train=False, download=request.download)
    except (OSError, RuntimeError) as error:
        remedy = "is it this folder? --download fetches the second one to there"
        if request.download:
            remedy = f"the download failed ({error}); put one of the two there"
        raise DataError(
            f"{data_root}: image folders train/<class>/*.png and test/<class>/*.png or "
            f"torchvision's {original.base_folder}/ expected, got neither whole; {remedy}"
        ) from error
    request.progress(
        len(train.data) + len(test.data), len(train.data) + len(test.data), f"{name} read"
    )
    return DatasetSource(
        name=name,
        class_names=tuple(train.classes),
        splits={
            split: ArraySource(
                labels=np.asarray(part.targets, dtype=np.int64),
                images=torch.from_numpy(part.data).permute(0, 3, 1, 2),
            )
            for split, part in (("train", train), ("test", test))
        },
    )
