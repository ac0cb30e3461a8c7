"""The classes that list files speak of: how many, and their names."""

from collections.abc import Mapping

import numpy as np

from marr_pipeline.data.list_file import ListFile
from marr_pipeline.errors import DataError


def check_classes(lists: Mapping[str, ListFile], *, at_most: int | None) -> int:
    """K, the number of classes: the labels of `train` must be 0..K-1, those of others among them.

    Args:
        lists: of every split, `train` first.
        at_most: the published K; labels from there on are of no class of the dataset.

    Raises:
        DataError: a label out of range (list and line are named), or a class without training
            image.
    """
    if at_most is not None:
        for listed in lists.values():
            _check_below(listed, at_most, "the dataset's classes are known; is this its list?")
    train = lists["train"]
    counts = np.bincount(train.labels)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        more = f" and {len(empty) - 1:,} more" if len(empty) > 1 else ""
        raise DataError(
            f"{train.path}: a training image of every label in 0..{len(counts) - 1} expected, got "
            f"none of label {empty[0]}{more}; number the classes without gaps"
        )
    for listed in lists.values():
        _check_below(listed, len(counts), f"these are the labels of {train.path}")
    return len(counts)


def class_names_of(
    train: ListFile, folders: Mapping[int, str], num_classes: int
) -> tuple[str, ...]:
    """K names: from the list's column, else from the folders, else the labels themselves.

    Args:
        train: the list of training images.
        folders: name of each class's own folder, for the classes that have one.
        num_classes: K.
    """
    for names in (train.class_names, folders):
        found = [names[label] for label in range(num_classes) if label in names]
        if len(set(found)) == num_classes:
            return tuple(found)
    return tuple(str(label) for label in range(num_classes))


def _check_below(listed: ListFile, bound: int, hint: str) -> None:
    beyond = np.flatnonzero(listed.labels >= bound)
    if len(beyond):
        row = int(beyond[0])
        raise DataError(
            f"{listed.where(row)}: a label in 0..{bound - 1} expected, got {listed.labels[row]}; "
            f"{hint}"
        )
