"""`folder`: images in `train/<class>/`, and where they exist `tune/<class>/` and `test/<class>/`.

Classes are the folders of `train` in alphabetical order.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from marr_pipeline.data.decode import SUFFIXES
from marr_pipeline.data.file_source import FileSource
from marr_pipeline.data.image_files import ImageFiles
from marr_pipeline.data.source import DatasetSource, SourceRequest
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.names import SPLITS
from marr_pipeline.protocols import protocol_of


def folder_source(request: SourceRequest) -> DatasetSource:
    """List the images of the data root; nothing is decoded and nothing drawn yet.

    Raises:
        ConfigError: no root was given, or the image size is below 8.
        DataError: the root has no `train` folder, a class folder is empty, or the classes of
            another split are not those of `train`.
    """
    data_root = request.data_root
    image_size = request.side(protocol_of("folder").image_size)
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
