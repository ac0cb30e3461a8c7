"""Datasets whose images and labels stand in list files, and where listed images lie on disk.

The lists of ImageNet-LT and Places-LT exist with two sets of paths for the same images and labels:
`train/<class>/FILE` and `val/<class>/FILE` (Kang et al., 2020), and flat `val/FILE`, and for Places
`data_256/<letter>/<class>/FILE` and `val_256/FILE` (LADE, Hong et al., 2021). Which one a list
has and which one a disk has are independent, so every list is tried in every layout, unless the
user maps beginnings of paths.

A listed path begins at the data root; an absolute one is taken as it is, and counts as the same
path if it lies below the root, also by a link or `..`. Where paths have no suffix, the one that the
files have is taken.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from marr_pipeline.data.class_order import named
from marr_pipeline.data.image_files import SUFFIXES, ImageFiles
from marr_pipeline.data.list_file import ListFile, check_classes, class_names_of, read_lists
from marr_pipeline.data.source import DatasetSource, FileSource, SourceRequest, SplitSource
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.names import SPLITS
from marr_pipeline.protocols import PROTOCOLS, Protocol

OFFICIAL = tuple(name for name, protocol in PROTOCOLS.items() if protocol.list_names)
LISTED = (*OFFICIAL, "list")

Layout = Callable[[str, str], str]
"""A listed path and the name of its class's folder, empty if unknown, to the path on disk."""

NUM_TRIED = 50


def listed_source(name: str, request: SourceRequest) -> DatasetSource:
    """The images of list files; none is opened yet.

    K is the number of labels in the list of `train`, which must be 0..K-1.

    Args:
        name: one of `LISTED`.
        request: the data root that listed paths begin at, and the lists.

    Raises:
        ConfigError: no root, or no list of training images.
        DataError: a list is malformed, labels are out of range or leave a class empty, or an
            image is in two splits.
    """
    protocol = PROTOCOLS[name]
    root = request.root(f"the folder that the paths of {name} begin at")
    paths = _list_paths(name, root, protocol, request.lists)
    place = partial(_place, root, cache(os.path.realpath))
    lists = read_lists(
        paths,
        on_disk=partial(
            _below, roots=_spellings(root), prefixes=request.path_prefixes, place=place
        ),
        class_order=request.class_order,
    )
    num_classes = check_classes(lists, at_most=protocol.num_classes)
    _check_apart(lists, place)
    image_size = request.side(protocol.image_size)
    folders = folders_of_classes(lists["train"].image_paths, lists["train"].labels)
    splits: dict[str, SplitSource] = {
        split: FileSource(
            labels=listed.labels,
            files=_files(root, listed, folders, request),
            image_size=image_size,
            name=split,
            request=request,
        )
        for split, listed in lists.items()
    }
    return DatasetSource(
        name=name,
        class_names=class_names_of(lists["train"], folders, num_classes),
        splits=splits,
        notes=_notes(lists, is_ordered=request.class_order is not None),
    )


def _list_paths(
    name: str, root: Path, protocol: Protocol, given: Mapping[str, Path]
) -> dict[str, Path]:
    """The lists given, and those that lie under the data root by their official names."""
    official = {split: root / file for split, file in protocol.list_names.items()}
    there = {split: path for split, path in official.items() if path.is_file()}
    found = {**there, **given}
    if "train" not in found:
        place = f", or {official['train']}" if official else ""
        raise ConfigError(
            f"--list-train: the list of {name}'s training images expected{place}, got none; give it"
        )
    return {split: found[split] for split in SPLITS if split in found}


def _files(
    root: Path, listed: ListFile, folders: Mapping[int, str], request: SourceRequest
) -> ImageFiles:
    paths: Sequence[str] = listed.image_paths
    if not request.path_prefixes:
        layout = choose_layout(root, paths, listed.labels, folders)
        paths = [
            layout(path, folders.get(label, ""))
            for path, label in zip(paths, listed.labels.tolist(), strict=True)
        ]
    suffix = _missing_suffix(root, paths)
    ids = tuple(path + suffix for path in paths) if suffix else tuple(paths)
    return ImageFiles(root, ids, listed.path, listed.lines, request.decoding)


def _missing_suffix(root: Path, paths: Sequence[str]) -> str:
    """The suffix that most of some listed paths lack, as tables of ids do; else none."""
    sample = [paths[row] for row in _sample(len(paths))]
    if any(PurePosixPath(path).suffix.lower() in SUFFIXES for path in sample):
        return ""

    def num_found(suffix: str) -> int:
        return sum((root / f"{path}{suffix}").is_file() for path in sample)

    tried = sorted(SUFFIXES)
    return max(["", *tried, *map(str.upper, tried)], key=num_found)


def _sample(num_paths: int) -> list[int]:
    """Some rows, evenly spread."""
    rows = np.unique(np.linspace(0, num_paths - 1, NUM_TRIED).round().astype(int))
    return [int(row) for row in rows]


def _spellings(root: Path) -> tuple[str, ...]:
    """How absolute paths below the root may begin."""
    ways = {os.path.abspath(root), os.path.realpath(root)}  # noqa: PTH100 - links stay as they are
    return tuple(f"{way.rstrip('/')}/" for way in sorted(ways))


def _place(root: Path, real: Callable[[str], str], path: str) -> str:
    """Where a listed path leads, its folder without links and `..`: one for all its spellings."""
    folder, _, name = path.rpartition("/")
    return f"{real(folder if path.startswith('/') else f'{root}/{folder}')}/{name}"


def _below(
    path: str,
    *,
    roots: Sequence[str],
    prefixes: Sequence[tuple[str, str]],
    place: Callable[[str], str],
) -> str:
    """A listed path with its beginning mapped, and relative to the data root if it lies there."""
    path = _relative(replace_prefix(path, prefixes), roots)
    if path.startswith("/") or ".." in path.split("/"):
        inside = _relative(place(path), roots)
        return path if inside.startswith("/") else inside
    return path


def _relative(path: str, roots: Sequence[str]) -> str:
    return path.removeprefix(next((root for root in roots if path.startswith(root)), ""))


def _notes(lists: Mapping[str, ListFile], *, is_ordered: bool) -> tuple[str, ...]:
    """Which columns were taken, and which names the labels got."""
    notes = [
        f"{listed.path}: read by its columns {', '.join(listed.columns)}"
        for listed in lists.values()
        if listed.columns
    ]
    train = lists["train"]
    if train.has_names:
        pairs = [f"{label} {name}" for label, name in sorted(train.class_names.items())]
        rule = "by --class-order" if is_ordered else "in sorted order"
        notes.append(f"{train.path}: labels are names, numbered {rule}: {named(pairs)}")
    return tuple(notes)


def _check_apart(lists: Mapping[str, ListFile], place: Callable[[str], str]) -> None:
    """No image may be in two splits: it would be trained and scored on."""
    owner: dict[str, tuple[str, int]] = {}
    for split, listed in lists.items():
        for row, path in enumerate(listed.image_paths):
            other, before = owner.setdefault(place(path), (split, row))
            if other != split:
                raise DataError(
                    f"{listed.where(row)}: an image of one split expected, got {path}, which is "
                    f"also in {lists[other].where(before)}; remove one of the two lines"
                )


def as_listed(path: str, class_folder: str) -> str:
    """The path itself."""
    return path


def class_folders(path: str, class_folder: str) -> str:
    """`train/<class>/FILE` and `val/<class>/FILE`."""
    parts = PurePosixPath(path).parts
    if not class_folder:
        return path
    if parts[0] == "data_256":
        return f"train/{class_folder}/{parts[-1]}"
    if parts[0] == "val_256" or (parts[0] == "val" and len(parts) == 2):
        return f"val/{class_folder}/{parts[-1]}"
    return path


def flat_val(path: str, class_folder: str) -> str:
    """`train/<class>/FILE` and `val/FILE`."""
    parts = PurePosixPath(path).parts
    if parts[0] in ("val", "val_256"):
        return f"val/{parts[-1]}"
    return class_folders(path, class_folder)


def places_256(path: str, class_folder: str) -> str:
    """`data_256/<letter>/<class>/FILE`, in which `a-b` is the folder `a/b`, and `val_256/FILE`."""
    parts = PurePosixPath(path).parts
    if parts[0] == "train" and class_folder:
        return f"data_256/{class_folder[0]}/{class_folder.replace('-', '/', 1)}/{parts[-1]}"
    if parts[0] == "val":
        return f"val_256/{parts[-1]}"
    return path


LAYOUTS: tuple[Layout, ...] = (as_listed, class_folders, flat_val, places_256)


def choose_layout(
    root: Path,
    paths: Sequence[str],
    labels: npt.NDArray[np.int64],
    folders: Mapping[int, str],
) -> Layout:
    """The layout under which most of some listed images are there; the list's own if none is.

    Args:
        root: the data root.
        paths: (M,) as listed.
        labels: (M,) int64.
        folders: name of each class's folder; a class without one is tried as listed only.
    """
    sample = _sample(len(paths))

    def num_found(layout: Layout) -> int:
        places = (layout(paths[row], folders.get(int(labels[row]), "")) for row in sample)
        return sum((root / place).is_file() for place in places)

    return max(LAYOUTS, key=num_found)


def folders_of_classes(paths: Sequence[str], labels: npt.NDArray[np.int64]) -> dict[int, str]:
    """Name of each class's folder, for the classes that have one to themselves.

    Args:
        paths: (M,) of the training images, as listed.
        labels: (M,) int64.
    """
    of_label: dict[int, set[str]] = {}
    of_folder: dict[str, set[int]] = {}
    for path, label in zip(paths, labels.tolist(), strict=True):
        folder = _class_folder(path)
        of_label.setdefault(label, set()).add(folder)
        of_folder.setdefault(folder, set()).add(label)
    only = {label: next(iter(names)) for label, names in of_label.items() if len(names) == 1}
    return {label: name for label, name in only.items() if len(of_folder[name]) == 1 and name}


def _class_folder(image_path: str) -> str:
    """The last folder of a path, empty if there is none; of `data_256/a/a/b/1.jpg` it is `a-b`."""
    folders = image_path.split("/")[:-1]
    if len(folders) > 2 and folders[0] == "data_256":
        return "-".join(folders[2:])
    return folders[-1] if folders else ""


def parse_prefixes(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Pairs (old, new) of `OLD=NEW`; either side may be empty.

    Raises:
        ConfigError: a text has no `=`.
    """
    for text in texts:
        if "=" not in text:
            raise ConfigError(
                f"--path-prefix: OLD=NEW expected, got '{text}'; such as val/=ILSVRC2012/val/"
            )
    pairs = (text.partition("=") for text in texts)
    return tuple((old, new) for old, _, new in pairs)


def replace_prefix(path: str, prefixes: Sequence[tuple[str, str]]) -> str:
    """`path` with the first of the old beginnings that it has replaced."""
    for old, new in prefixes:
        if path.startswith(old):
            return new + path.removeprefix(old)
    return path
