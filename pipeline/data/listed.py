"""Datasets whose images and labels stand in list files.

The roles of the official splits: ImageNet-LT's and Places-LT's val is `tune`; iNaturalist 2018 has
no public test labels, its val is `test` for everybody.
"""

from collections.abc import Mapping
from pathlib import Path

from marr_pipeline.data.class_list import check_classes, class_names_of
from marr_pipeline.data.file_source import FileSource
from marr_pipeline.data.image_files import ImageFiles
from marr_pipeline.data.list_file import ListFile, read_list
from marr_pipeline.data.path_layout import choose_layout, folders_of_classes, replace_prefix
from marr_pipeline.data.source import DatasetSource, SourceRequest, SplitSource
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.names import SPLITS
from marr_pipeline.protocols import PROTOCOLS, Protocol

OFFICIAL = tuple(name for name, protocol in PROTOCOLS.items() if protocol.list_names)
LISTED = (*OFFICIAL, "list")


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
    root = request.data_root
    if root is None:
        raise ConfigError(
            f"--data-root: the folder that the paths of {name} begin at expected, got none; give it"
        )
    lists = {split: read_list(path) for split, path in _list_paths(name, protocol, request).items()}
    num_classes = check_classes(lists, at_most=protocol.num_classes)
    _check_apart(lists)
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
    )


def _list_paths(name: str, protocol: Protocol, request: SourceRequest) -> dict[str, Path]:
    """The lists given, and those that lie under the data root by their official names."""
    assert request.data_root is not None
    found = {}
    for split in SPLITS:
        official = protocol.list_names.get(split)
        if split in request.lists:
            found[split] = request.lists[split]
        elif official is not None and (request.data_root / official).is_file():
            found[split] = request.data_root / official
    if "train" not in found:
        official = protocol.list_names.get("train")
        place = f", or {request.data_root / official}" if official else ""
        raise ConfigError(
            f"--list-train: the list of {name}'s training images expected{place}, got none; give it"
        )
    return found


def _files(
    root: Path, listed: ListFile, folders: Mapping[int, str], request: SourceRequest
) -> ImageFiles:
    paths = [replace_prefix(path, request.path_prefixes) for path in listed.image_paths]
    if not request.path_prefixes:
        layout = choose_layout(root, paths, listed.labels, folders)
        paths = [
            layout(path, folders.get(label, ""))
            for path, label in zip(paths, listed.labels.tolist(), strict=True)
        ]
    return ImageFiles(root, tuple(paths), listed.path, listed.lines)


def _check_apart(lists: Mapping[str, ListFile]) -> None:
    """No image may be in two splits: it would be trained and scored on."""
    owner: dict[str, tuple[str, int]] = {}
    for split, listed in lists.items():
        for row, path in enumerate(listed.image_paths):
            other, before = owner.setdefault(path, (split, row))
            if other != split:
                raise DataError(
                    f"{listed.where(row)}: an image of one split expected, got {path}, which is "
                    f"also in {lists[other].where(before)}; remove one of the two lines"
                )
