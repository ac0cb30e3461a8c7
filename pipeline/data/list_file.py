"""List files: which image has which label, and the classes that they speak of.

Two forms. The public lists of the long-tail benchmarks are text, one image a line: a path, white
space, a label; no blanks in paths. A table has a header with a column of paths and one of labels
(`PATH_COLUMNS`, `LABEL_COLUMNS`, in any case of letters), divided by commas, semicolons or tabs; it
may have one of class names (`NAME_COLUMNS`), and its paths may hold blanks.

Labels are numbers from 0 (`0` or `0.0`), or else names, which are numbered in sorted order.
"""

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from marr_pipeline.data.class_order import in_order
from marr_pipeline.data.image_files import MOST_SHOWN, SUFFIXES
from marr_pipeline.errors import DataError

PATH_COLUMNS = (
    *("path", "filepath", "file_path", "image_path", "img_path", "filename", "file_name"),
    *("file", "image", "img", "image_name", "image_id", "img_id", "id"),
)
LABEL_COLUMNS = (
    *("label", "labels", "label_id", "target", "class_id", "category_id"),
    *("category", "class_name", "class"),
)
NAME_COLUMNS = ("class", "class_name", "category", "category_name", "label_name")
DELIMITERS = (",", ";", "\t")

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


@dataclass
class _Faults:
    """Lines of a list that are not as they should be; those of the first kind become the error."""

    path: Path
    found: dict[tuple[str, str], list[tuple[int, str]]] = field(default_factory=dict)

    def add(self, line: int, expected: str, got: str, remedy: str) -> None:
        self.found.setdefault((expected, remedy), []).append((line, got))

    def check(self) -> None:
        """Raise a DataError with the first lines that are at fault, if any is."""
        for (expected, remedy), lines in self.found.items():
            (line, got), *others = lines[:MOST_SHOWN]
            also = "".join(f", in line {other} {what}" for other, what in others)
            if len(lines) > MOST_SHOWN:
                also += f", and so in {len(lines):,} lines"
            raise DataError(
                f"{self.path}, line {line}: {expected} expected, got {got}{also}; {remedy}"
            )


@dataclass(frozen=True)
class _Entry:
    """A line: its number, path, label as it is written, and class where there is one."""

    line: int
    path: str
    label: str
    class_name: str | None = None


@dataclass(frozen=True)
class _Entries:
    path: Path
    entries: list[_Entry]
    columns: tuple[str, ...]


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
        DataError: a file is empty, no text, or a line is not as the module says; names file
            and line.
    """
    read = {split: _entries(path, on_disk) for split, path in paths.items()}
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


def _entries(path: Path, on_disk: Callable[[str], str]) -> _Entries:
    """What the lines say, each image once."""
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
    lines, faults = text.splitlines(), _Faults(path)
    delimiter = _delimiter(path, lines[0]) if lines else None
    columns: tuple[str, ...] = ()
    if delimiter is None:
        entries = list(_text_entries(lines, faults))
    else:
        columns = _path_and_label(path, _columns(lines[0], delimiter))
        entries = list(_table_entries(lines, delimiter, columns, faults))
    faults.check()
    if not entries:
        raise DataError(
            f"{path}: lines `path label`, or a CSV with the header path,label, expected, got no "
            "image; is this the right file?"
        )
    first_line: dict[str, int] = {}
    for at, entry in enumerate(entries):
        image_path = _posix(on_disk(_posix(entry.path)))
        entries[at] = _Entry(entry.line, image_path, entry.label, entry.class_name)
        before = first_line.setdefault(image_path, entry.line)
        if before != entry.line:
            faults.add(
                entry.line,
                "every image once",
                f"{image_path} as in line {before}",
                "remove one of the two lines",
            )
    faults.check()
    return _Entries(path, entries, tuple(name for name in columns if name not in ("path", "label")))


def _label_names(train: _Entries, class_order: Sequence[str] | None) -> tuple[str, ...] | None:
    """Names of the labels 0..K-1, sorted or as given; None where labels are numbers.

    Raises:
        DataError: some are numbers and some are not, or the order is of other classes.
    """
    written = {entry.label for entry in train.entries}
    if class_order is not None:
        return in_order(written, class_order, where=str(train.path))
    if not any(map(_is_numeric, written)):
        return tuple(sorted(written))
    faults = _Faults(train.path)
    for entry in train.entries:
        _check_number(entry, faults)
    faults.check()
    return None


def _numbered(listed: _Entries, names: tuple[str, ...] | None) -> ListFile:
    """The list with labels by the names, or with the numbers it has."""
    faults, labels = _Faults(listed.path), []
    class_names: dict[int, str] = {}
    number_of = {name: label for label, name in enumerate(names or ())}
    for entry in listed.entries:
        if names is None:
            label = _check_number(entry, faults)
        elif entry.label not in number_of:
            label = -1
            faults.add(
                entry.line,
                "a label of the training list",
                f"'{_short(entry.label)}'",
                "correct it, or remove the line",
            )
        else:
            label = number_of[entry.label]
        labels.append(label)
        name = entry.class_name if names is None else entry.label
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


def _delimiter(path: Path, first: str) -> str | None:
    """What divides the columns of a table by its header; None for lines `path label`.

    Raises:
        DataError: it is a table without a header.
    """
    for delimiter in DELIMITERS:
        columns = _columns(first, delimiter)
        if len(columns) > 1 and {*columns} & {*PATH_COLUMNS, *LABEL_COLUMNS}:
            return delimiter
    for delimiter in (",", ";"):
        fields = next(csv.reader([first], delimiter=delimiter))
        if len(fields) < 2:
            continue
        is_image = PurePosixPath(fields[0].strip()).suffix.lower() in SUFFIXES
        if is_image or _is_numeric(fields[-1].strip()):
            raise DataError(
                f"{path}, line 1: a header such as path{delimiter}label expected, got "
                f"'{_short(first)}', which looks like an image; put a line with the names of the "
                "columns above it"
            )
    return None


def _path_and_label(path: Path, columns: Sequence[str]) -> tuple[str, str]:
    """The columns that are taken, by the order of the names that are known."""
    image = next((name for name in PATH_COLUMNS if name in columns), None)
    label = next((name for name in LABEL_COLUMNS if name in columns), None)
    if image is None or label is None:
        missing, known = ("path", PATH_COLUMNS) if image is None else ("label", LABEL_COLUMNS)
        raise DataError(
            f"{path}, line 1: columns path and label expected, got {', '.join(columns)}; "
            f"name one of them {missing} ({', '.join(known[1:])} are read too)"
        )
    return image, label


def _text_entries(lines: list[str], faults: _Faults) -> Iterator[_Entry]:
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) == 2:
            yield _Entry(number, *fields)
        elif fields:
            faults.add(
                number,
                "a path without blanks and a label",
                f"{len(fields)} fields: '{_short(line)}'",
                "for paths with blanks give a CSV with the header path,label",
            )


def _table_entries(
    lines: list[str], delimiter: str, taken: tuple[str, ...], faults: _Faults
) -> Iterator[_Entry]:
    columns = _columns(lines[0], delimiter)
    of_path, of_label = taken
    of_name = next((name for name in NAME_COLUMNS if name in columns and name != of_label), "")
    rows = csv.reader(lines[1:], delimiter=delimiter)
    for fields in rows:
        number = rows.line_num + 1
        if not fields:
            continue
        if len(fields) != len(columns):
            faults.add(
                number,
                f"{len(columns)} fields as in the header",
                f"{len(fields)}",
                f"quote what has a '{delimiter}' in it",
            )
            continue
        row = dict(zip(columns, (text.strip() for text in fields), strict=True))
        for kind, name in (("path", of_path), ("label", of_label)):
            if not row[name]:
                faults.add(number, f"a {kind}", "none", "fill it in, or remove the line")
        yield _Entry(number, row[of_path], row[of_label], row.get(of_name) or None)


def _columns(header: str, delimiter: str) -> list[str]:
    names = next(csv.reader([header], delimiter=delimiter))
    return [re.sub(r"[ -]", "_", name.strip().lower()) for name in names]


def _is_numeric(text: str) -> bool:
    """Whether Python takes it for a number, as it does `1.5`, `-1`, `1_0` and `nan`."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_number(entry: _Entry, faults: _Faults) -> int:
    """The label as a number, or 0 and a fault."""
    number = _NUMBER.fullmatch(entry.label)
    if number is None:
        remedy = "number the classes, or give names of all of them, or a --class-order FILE"
        if entry.label == "-1":
            remedy = "-1 marks open-set images, leave them out"
        faults.add(entry.line, "a label from 0", f"'{_short(entry.label)}'", remedy)
        return 0
    return int(number[1])


def _posix(path: str) -> str:
    """One spelling for each path, so that `./a.jpg` and `a.jpg` are the same image."""
    path = path.replace("\\", "/")
    # A path object for each of 437,513 lines would take seconds.
    return str(PurePosixPath(path)) if "//" in path or "./" in path else path


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _check_below(listed: ListFile, bound: int, hint: str) -> None:
    beyond = np.flatnonzero(listed.labels >= bound)
    faults = _Faults(listed.path)
    for row in beyond.tolist():
        faults.add(
            int(listed.lines[row]), f"a label in 0..{bound - 1}", str(listed.labels[row]), hint
        )
    faults.check()
