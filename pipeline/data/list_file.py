"""List files: the images and labels of each split, and the classes that they speak of.

Labels are numbers from 0 (`0` or `0.0`), or else names, which are numbered in sorted order or in
one that is given. What lines look like is told by `list_lines`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from marr_pipeline.data.class_order import in_order
from marr_pipeline.data.list_lines import Entry, Faults, ListLines, read_lines, short
from marr_pipeline.errors import DataError
from marr_pipeline.reading import is_number

_NUMBER = re.compile(r"([0-9]+)(?:\.0+)?")


@dataclass(frozen=True)
class ListFile:
    """The M images of a list, in its order.

    Attributes:
        path: of the list.
        image_paths: M paths, with forward slashes.
        labels: (M,) int64, at least 0.
        lines: (M,) int64, the line of each image, counted from 1.
        class_names: name of each label where the list tells it.
        columns: of path and label, where the header calls them otherwise.
        has_names: whether its labels are names.
    """

    path: Path
    image_paths: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    lines: npt.NDArray[np.int64]
    class_names: dict[int, str]
    columns: tuple[str, ...] = ()
    has_names: bool = False

    def where(self, row: int) -> str:
        """The place of an image, for a message."""
        return f"{self.path}, line {self.lines[row]}"


def read_lists(
    paths: Mapping[str, Path],
    *,
    on_disk: Callable[[str], str] = str,
    class_order: Sequence[str] | None = None,
) -> dict[str, ListFile]:
    """The images of list files; none of them is opened.

    Args:
        paths: of the list of each split, `train` among them: it says whether labels are numbers
            or names, and which.
        on_disk: makes of a listed path the one that it stands for.
        class_order: names of the labels 0 to K - 1, which are then no numbers in the lists.

    Raises:
        DataError: a file is empty, no text, or a line is not as this module and `list_lines` say;
            names file and line.
    """
    read = {split: read_lines(path, on_disk) for split, path in paths.items()}
    names = _label_names(read["train"], class_order)
    return {split: _numbered(each, names) for split, each in read.items()}


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
    counts = np.bincount(train.labels, minlength=len(train.class_names) if train.has_names else 0)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        more = f" and {len(empty) - 1:,} more" if len(empty) > 1 else ""
        raise DataError(
            f"{train.path}: a training image of every label in 0..{len(counts) - 1} expected, got "
            f"none of label {empty[0]}{more}; number the classes without gaps, or write the labels "
            "there are into a --class-order FILE"
        )
    for listed in lists.values():
        _check_below(listed, len(counts), f"these are the labels of {train.path}")
    return len(counts)


def class_names_of(
    train: ListFile, folders: Mapping[int, str], num_classes: int
) -> tuple[str, ...]:
    """K names: those that the list has, else from the folders, else the labels themselves.

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


def _label_names(train: ListLines, class_order: Sequence[str] | None) -> tuple[str, ...] | None:
    """Names of the labels 0..K-1, sorted or as given; None where labels are numbers."""
    written = {entry.label for entry in train.entries}
    if class_order is not None:
        found = {label if label in class_order else _whole(label) for label in written}
        return in_order(found, class_order, where=str(train.path))
    if not any(map(is_number, written)):
        return tuple(sorted(written))
    faults = Faults(train.path)
    for entry in train.entries:
        _check_number(entry, faults)
    faults.check()
    return None


def _numbered(listed: ListLines, names: tuple[str, ...] | None) -> ListFile:
    """The list with labels by the names, or with the numbers it has."""
    faults, labels = Faults(listed.path), []
    class_names: dict[int, str] = {}
    number_of = {name: label for label, name in enumerate(names or ())}
    for entry in listed.entries:
        if names is None:
            label = _check_number(entry, faults)
        elif (label := number_of.get(entry.label, number_of.get(_whole(entry.label), -1))) < 0:
            faults.add(
                entry.line,
                "a label of the training list",
                f"'{short(entry.label)}'",
                "correct it, or remove the line",
            )
        labels.append(label)
        name = entry.class_name if names is None else None
        if name is not None and class_names.setdefault(label, name) != name:
            faults.add(
                entry.line,
                f"class '{class_names[label]}' for label {label} as in the lines before",
                f"'{name}'",
                "give every label one name",
            )
    faults.check()
    return ListFile(
        path=listed.path,
        image_paths=tuple(entry.path for entry in listed.entries),
        labels=np.array(labels, dtype=np.int64),
        lines=np.array([entry.line for entry in listed.entries], dtype=np.int64),
        class_names=class_names if names is None else dict(enumerate(names)),
        columns=listed.columns,
        has_names=names is not None,
    )


def _whole(label: str) -> str:
    """`0` of `0.0`; other text as it is."""
    number = _NUMBER.fullmatch(label)
    return number[1] if number else label


def _check_number(entry: Entry, faults: Faults) -> int:
    """The label as a number, or 0 and a fault."""
    number = _NUMBER.fullmatch(entry.label)
    if number is None:
        remedy = "number the classes, or give names of all of them, or a --class-order FILE"
        if entry.label == "-1":
            remedy = "-1 marks open-set images, leave them out"
        faults.add(entry.line, "a label from 0", f"'{short(entry.label)}'", remedy)
        return 0
    return int(number[1])


def _check_below(listed: ListFile, bound: int, hint: str) -> None:
    beyond = np.flatnonzero(listed.labels >= bound)
    faults = Faults(listed.path)
    for row in beyond.tolist():
        faults.add(
            int(listed.lines[row]), f"a label in 0..{bound - 1}", str(listed.labels[row]), hint
        )
    faults.check()
