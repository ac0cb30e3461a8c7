"""`folder`: images in `train/<class>/`, and where they exist `tune/<class>/` and `test/<class>/`.

Classes are the folders of `train` in alphabetical order. Every image becomes 8-bit RGB of one
size: another size is resized, antialiased, until its short side fits, and cut at the centre.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from pipeline.data.images import PhaseOneDefaults
from pipeline.data.source import DatasetSource, Rows, SourceRequest, SplitSource
from pipeline.errors import ConfigError, DataError
from pipeline.names import AUGMENTATIONS, SPLITS

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff"})
IMAGES_PER_TASK = 256  # a 32 x 32 PNG decodes in 0.1 ms: one task each would be all overhead
COLOUR_DEFAULTS = PhaseOneDefaults(
    backbone="resnet32", augmentation="crop-flip", augmentations=AUGMENTATIONS
)


def folder_source(request: SourceRequest) -> DatasetSource:
    """List the images of the data root; nothing is decoded and nothing drawn yet.

    Raises:
        ConfigError: no root was given, or the image size is below 8.
        DataError: the root has no `train` folder, a class folder is empty, or the classes of
            another split are not those of `train`.
    """
    data_root, image_size = request.data_root, request.image_size
    if data_root is None:
        raise ConfigError("--data-root: a folder with train/ and test/ expected, got none; give it")
    if image_size < 8:
        raise ConfigError(
            f"image size: at least 8 pixels expected, got {image_size}; the backbone halves twice"
        )
    if not (data_root / "train").is_dir():
        raise DataError(
            f"{data_root}: a folder train/ with one folder a class expected, got none; "
            "move the training images there"
        )
    present = [split for split in SPLITS if (data_root / split).is_dir()]
    class_names = _class_folders(data_root / "train")
    splits = {split: _list_split(data_root, split, class_names, request) for split in present}
    return DatasetSource(
        name="folder", class_names=class_names, splits=splits, defaults=COLOUR_DEFAULTS
    )


def read_images(paths: list[Path], request: SourceRequest, *, note: str) -> Tensor:
    """Decode `paths` (N,) in the request's threads (Pillow decodes outside Python's lock).

    Returns:
        (N, 3, image_size, image_size) uint8.

    Raises:
        DataError: a file is no image or is cut short; names it.
    """
    image_size = request.image_size
    images = np.empty((len(paths), image_size, image_size, 3), dtype=np.uint8)

    def decode(start: int) -> int:
        stop = min(start + IMAGES_PER_TASK, len(paths))
        for row in range(start, stop):
            images[row] = read_image(paths[row], image_size)
        return stop

    with ThreadPoolExecutor(request.workers) as pool:
        try:
            for done in pool.map(decode, range(0, len(paths), IMAGES_PER_TASK)):
                request.progress(done, len(paths), note)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def read_image(path: Path, image_size: int) -> npt.NDArray[np.uint8]:
    """One image as (image_size, image_size, 3) uint8 RGB."""
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path}: a readable image expected, got {error}; replace or remove the file"
        ) from error
    if image.size != (image_size, image_size):
        scale = image_size / min(image.size)
        width, height = (max(image_size, round(side * scale)) for side in image.size)
        left, top = (width - image_size) // 2, (height - image_size) // 2
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        image = image.crop((left, top, left + image_size, top + image_size))
    return np.asarray(image)


def _list_split(
    root: Path, split: str, class_names: tuple[str, ...], request: SourceRequest
) -> SplitSource:
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
    return SplitSource(
        labels=np.repeat(np.arange(len(class_names)), sizes),
        read=partial(_read_rows, paths, request, split),
        ids=tuple(path.relative_to(root).as_posix() for path in paths),
    )


def _read_rows(paths: list[Path], request: SourceRequest, split: str, rows: Rows) -> Tensor:
    return read_images([paths[row] for row in rows], request, note=f"{split} images")


def _class_folders(split: Path) -> tuple[str, ...]:
    return tuple(
        sorted(path.name for path in split.iterdir() if path.is_dir() and path.name[0] != ".")
    )
