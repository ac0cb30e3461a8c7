"""Where the images of a dataset lie: its folder or archive in a folder of datasets, or that folder.

An archive is unpacked once into the folder of the runs. A plan makes nothing there, and unpacks
into a folder of its own that need not outlive it: images without content then, which are enough to
be listed and counted.
"""

import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from marr_pipeline.data.image_files import SUFFIXES
from marr_pipeline.errors import DataError
from marr_pipeline.progress import Progress, silent

FOLDERS: Mapping[str, tuple[str, ...]] = {
    "cifar10-lt": ("cifar10", "cifar10lt"),
    "cifar100-lt": ("cifar100", "cifar100lt"),
    "imagenet-lt": ("imagenet", "imagenetlt", "imagenet1k"),
    "places-lt": ("places", "placeslt", "places365"),
    "inaturalist2018": ("inaturalist", "inaturalist2018", "inaturalist18", "inat", "inat2018"),
}
"""What a dataset's folder may be called, in small letters and without `-`, `_` and spaces."""


def find_images(
    dataset: str,
    data_root: Path,
    folder: Path,
    *,
    listing: Path | None = None,
    progress: Progress = silent,
) -> Path:
    """The folder of a dataset under a root, or the root itself where it is of no other dataset.

    Args:
        dataset: one of `names.DATASETS`.
        data_root: a folder of datasets, or one dataset's.
        folder: that archives are unpacked into, once.
        listing: instead of that, unless it is done: its images are left empty there.
        progress: told of files unpacked.

    Raises:
        DataError: other datasets are there, and not this; or an archive that is none, or damaged.
    """
    found = dict(_datasets_in(data_root))
    if not found:
        return data_root
    if dataset not in found:
        raise DataError(
            f"{data_root}: a folder or .zip named {FOLDERS[dataset][0]} expected, got "
            f"{', '.join(sorted(path.name for path in found.values()))}; put it there"
        )
    path = found[dataset]
    if path.is_dir():
        return path
    if listing is not None and not _is_unpacked(path, folder):
        return _unpacked(path, listing, are_empty=True, progress=progress)
    return _unpacked(path, folder, are_empty=False, progress=progress)


def _datasets_in(data_root: Path) -> Iterator[tuple[str, Path]]:
    """The last of a dataset counts, so that a folder is taken before an archive."""
    for path in sorted(data_root.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        called = path.name.removesuffix(".zip").lower().translate(str.maketrans("", "", "-_ "))
        for dataset, names in FOLDERS.items():
            if called in names and (path.is_dir() or path.suffix == ".zip"):
                yield dataset, path


def _mark(archive: Path, folder: Path) -> tuple[Path, str]:
    """The file that says that an archive has been unpacked there whole, and what it says."""
    found = archive.stat()
    return folder / f"{archive.stem}.unpacked", f"{found.st_size} {found.st_mtime_ns}"


def _is_unpacked(archive: Path, folder: Path) -> bool:
    """Whether that archive has been, and not another of its name."""
    mark, text = _mark(archive, folder)
    return mark.exists() and mark.read_text(encoding="utf-8") == text


def _unpacked(archive: Path, folder: Path, *, are_empty: bool, progress: Progress) -> Path:
    """The content of an archive; the folder that is all of it, if there is one."""
    target = folder / archive.stem
    if not _is_unpacked(archive, folder):
        mark, text = _mark(archive, folder)
        if target.exists():
            shutil.rmtree(target)
        try:
            with zipfile.ZipFile(archive) as opened:
                _unpack(opened, target, are_empty=are_empty, progress=progress)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as bad:
            raise DataError(
                f"{archive}: a whole zip archive expected, got: {bad}; copy it there again"
            ) from bad
        mark.write_text(text, encoding="utf-8")
    inside = [path for path in target.iterdir() if not path.name.startswith("__")]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else target


def _unpack(opened: zipfile.ZipFile, target: Path, *, are_empty: bool, progress: Progress) -> None:
    members = opened.infolist()
    for number, member in enumerate(members, start=1):
        if are_empty and PurePosixPath(member.filename).suffix.lower() in SUFFIXES:
            member.file_size = member.compress_size = member.CRC = 0
        opened.extract(member, target)
        progress(number, len(members), "files")
