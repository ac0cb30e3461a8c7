"""List files: which image has which label, and the classes that they speak of.

Two forms. The public lists of the long-tail benchmarks are text, one image a line: a path, white
space, a label from 0; no header, no blanks in paths. A CSV file begins with a header that has the
columns `path` and `label`, may have `class` for the class's name, and its paths may hold blanks.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from marr_pipeline.errors import DataError

CSV_COLUMNS = ("path", "label")
CLASS_COLUMN = "class"


@dataclass(frozen=True)
class ListFile:
    """The M images of a list, in its order.

    Attributes:
        path: of the list.
        image_paths: M paths as the list has them, with forward slashes.
        labels: (M,) int64, at least 0.
        lines: (M,) int64, the line of each image, counted from 1.
        class_names: name of each label where the list has a column for it.
    """

    path: Path
    image_paths: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    lines: npt.NDArray[np.int64]
    class_names: dict[int, str]

    def where(self, row: int) -> str:
        """The place of an image, for a message."""
        return f"{self.path}, line {self.lines[row]}"


_Entry = tuple[int, str, str, str | None]
"""A line's number, path, label as it is written, and class where there is one."""


def read_list(path: Path) -> ListFile:
    """The images of a list file; none of them is opened.

    Raises:
        DataError: the file is empty, no text, or a line is not as the module says; names file
            and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: a list in UTF-8 expected, got {error}; save it as plain text"
        ) from error
    except OSError as error:
        raise DataError(
            f"{path}: a readable list file expected, got {error.strerror}; correct the path"
        ) from error
    lines = text.splitlines()
    is_csv = bool(lines) and "," in lines[0] and CSV_COLUMNS[0] in _columns(lines[0])
    entries = _csv_entries(path, lines) if is_csv else _text_entries(path, lines)
    first_line: dict[str, int] = {}
    labels: list[int] = []
    class_names: dict[int, str] = {}
    for line, image_path, written, class_name in entries:
        where = f"{path}, line {line}"
        before = first_line.setdefault(image_path, line)
        if before != line:
            raise DataError(
                f"{where}: every image once expected, got {image_path} as in line {before}; "
                "remove one of the two lines"
            )
        label = _label(written, where)
        labels.append(label)
        if class_name is not None and class_names.setdefault(label, class_name) != class_name:
            raise DataError(
                f"{where}: class '{class_names[label]}' expected for label {label} as in the lines "
                f"before, got '{class_name}'; give every label one name"
            )
    if not labels:
        raise DataError(
            f"{path}: lines `path label`, or a CSV with the header path,label, expected, got no "
            "image; is this the right file?"
        )
    return ListFile(
        path=path,
        image_paths=tuple(first_line),
        labels=np.array(labels, dtype=np.int64),
        lines=np.array(list(first_line.values()), dtype=np.int64),
        class_names=class_names,
    )


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


def _text_entries(path: Path, lines: list[str]) -> Iterator[_Entry]:
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 2:
            raise DataError(
                f"{path}, line {number}: a path without blanks and a label expected, got "
                f"{len(fields)} fields: '{_short(line)}'; for paths with blanks give a CSV with "
                "the header path,label"
            )
        yield number, _posix(fields[0]), fields[1], None


def _csv_entries(path: Path, lines: list[str]) -> Iterator[_Entry]:
    columns = _columns(lines[0])
    missing = [name for name in CSV_COLUMNS if name not in columns]
    if missing:
        raise DataError(
            f"{path}, line 1: columns path and label expected, got {', '.join(columns)}; "
            f"name one of them {missing[0]}"
        )
    rows = csv.reader(lines[1:])
    for fields in rows:
        if not fields:
            continue
        number = rows.line_num + 1
        if len(fields) != len(columns):
            raise DataError(
                f"{path}, line {number}: {len(columns)} fields expected as in the header, got "
                f"{len(fields)}; quote a path that has a comma"
            )
        row = dict(zip(columns, (field.strip() for field in fields), strict=True))
        if not row["path"]:
            raise DataError(f"{path}, line {number}: a path expected, got none; fill it in")
        yield number, _posix(row["path"]), row["label"], row.get(CLASS_COLUMN) or None


def _columns(header: str) -> list[str]:
    return [name.strip().lower() for name in next(csv.reader([header]))]


def _label(text: str, where: str) -> int:
    # int() alone would also take "1_0" and other alphabets' digits.
    if not (text.isascii() and text.isdigit()):
        hint = "-1 marks open-set images, leave them out" if text == "-1" else "number the classes"
        raise DataError(f"{where}: a label from 0 expected, got '{_short(text)}'; {hint}")
    return int(text)


def _posix(path: str) -> str:
    """One spelling for each path, so that `./a.jpg` and `a.jpg` are the same image."""
    path = path.replace("\\", "/")
    # A path object for each of 437,513 lines would take seconds.
    return str(PurePosixPath(path)) if "//" in path or "./" in path else path


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _check_below(listed: ListFile, bound: int, hint: str) -> None:
    beyond = np.flatnonzero(listed.labels >= bound)
    if len(beyond):
        row = int(beyond[0])
        raise DataError(
            f"{listed.where(row)}: a label in 0..{bound - 1} expected, got {listed.labels[row]}; "
            f"{hint}"
        )
