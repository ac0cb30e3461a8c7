"""Datasets in folders: `folder`, and `cifar10-lt` and `cifar100-lt`, which torchvision has too.

Images lie in `train/<class>/`, and where they exist `tune/<class>/` and `test/<class>/`; classes
are the folders of `train` in alphabetical order.

CIFAR's data root is read so if it has a folder `train`; the images in it may already be
long-tailed, as long as the ratio asked for is at least as steep. Any other root is handed to
torchvision, which reads `cifar-10-batches-py` or `cifar-100-python` and downloads it if absent.
"""

import contextlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from marr_pipeline.data.image_files import SUFFIXES, ImageFiles
from marr_pipeline.data.source import ArraySource, DatasetSource, FileSource, SourceRequest
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.names import SPLITS
from marr_pipeline.progress import Progress
from marr_pipeline.protocols import PROTOCOLS

CIFAR_ORIGINALS = {"cifar10-lt": CIFAR10, "cifar100-lt": CIFAR100}


def folder_source(request: SourceRequest) -> DatasetSource:
    """List the images of the data root; nothing is decoded and nothing drawn yet.

    Raises:
        ConfigError: no root was given, or the image size is below 8.
        DataError: the root has no `train` folder, a class folder is empty, or the classes of
            another split are not those of `train`.
    """
    data_root = request.data_root
    image_size = request.side(PROTOCOLS["folder"].image_size)
    if data_root is None:
        raise ConfigError("--data-root: a folder with train/ and test/ expected, got none; give it")
    if not (data_root / "train").is_dir():
        raise DataError(
            f"{data_root}: a folder train/ with one folder a class expected, got none; "
            "move the training images there"
        )
    present = [split for split in SPLITS if (data_root / split).is_dir()]
    class_names = _class_folders(data_root / "train")
    splits = {}
    for split in present:
        labels, files = _list_split(data_root, split, class_names)
        splits[split] = FileSource(
            labels=labels, files=files, image_size=image_size, name=split, request=request
        )
    return DatasetSource(name="folder", class_names=class_names, splits=splits)


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
    original = CIFAR_ORIGINALS[name]
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
                labels=np.asarray(part.targets, dtype=np.int64),
                images=torch.from_numpy(part.data).permute(0, 3, 1, 2),
            )
            for split, part in (("train", train), ("test", test))
        },
    )


def _list_split(
    root: Path, split: str, class_names: tuple[str, ...]
) -> tuple[npt.NDArray[np.int64], ImageFiles]:
    found = _class_folders(root / split)
    if found != class_names:
        missing, extra = (
            sorted(set(class_names) - set(found)),
            sorted(set(found) - set(class_names)),
        )
        raise DataError(
            f"{root / split}: the class folders of train expected, got {len(missing)} missing "
            f"({', '.join(missing) or 'none'}) and {len(extra)} unknown "
            f"({', '.join(extra) or 'none'}); give both splits the same classes"
        )
    paths: list[Path] = []
    sizes: list[int] = []
    for name in class_names:
        files = sorted(
            path for path in (root / split / name).rglob("*") if path.suffix.lower() in SUFFIXES
        )
        if not files:
            raise DataError(
                f"{root / split / name}: at least one image expected, got an empty class folder; "
                f"add images ({' '.join(sorted(SUFFIXES))}) or remove the folder"
            )
        paths += files
        sizes.append(len(files))
    labels = np.repeat(np.arange(len(class_names)), sizes)
    return labels, ImageFiles(root, tuple(path.relative_to(root).as_posix() for path in paths))


def _class_folders(split: Path) -> tuple[str, ...]:
    return tuple(
        sorted(path.name for path in split.iterdir() if path.is_dir() and path.name[0] != ".")
    )
