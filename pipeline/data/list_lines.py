"""The lines of a list file: which image has which label, as it is written.

Two forms. The public lists of the long-tail benchmarks are text, one image a line: a path, white
space, a label; no blanks in paths. A table has a header with a column of paths and one of labels
(`PATH_COLUMNS`, `LABEL_COLUMNS`, in any case of letters), divided by commas, semicolons or tabs; it
may have one of class names (`NAME_COLUMNS`), and its paths may hold blanks.
"""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from marr_pipeline.data.image_files import MOST_SHOWN, SUFFIXES
from marr_pipeline.errors import DataError
from marr_pipeline.reading import is_number, reading

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


@dataclass
class Faults:
    """Lines of a list that are not as they should be; those of the first kind become the error."""

    path: Path
    found: dict[tuple[str, str], list[tuple[int, str]]] = field(default_factory=dict)

    def add(self, line: int, expected: str, got: str, remedy: str) -> None:
        """The line has something else than was expected; a remedy is one for all of a kind."""
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
class Entry:
    """A line: its number, path, label as it is written, and class where there is one."""

    line: int
    path: str
    label: str
    class_name: str | None = None


@dataclass(frozen=True)
class ListLines:
    """A list's images as it has them, and the columns taken that are not called path or label."""

    path: Path
    entries: list[Entry]
    columns: tuple[str, ...]


def read_lines(path: Path, on_disk: Callable[[str], str]) -> ListLines:
    """What the lines of a list say, each image once.

    Args:
        path: of the list.
        on_disk: makes of a listed path the one that it stands for.

    Raises:
        DataError: the file is empty, no text, or a line is not as the module says; names file and
            lines.
    """
    with reading(path, "a list in UTF-8", "save it as plain text"):
        return _read_lines(path, on_disk, path.read_text(encoding="utf-8-sig"))


def _read_lines(path: Path, on_disk: Callable[[str], str], text: str) -> ListLines:
    """`read_lines` of the text of a list."""
    lines, faults = text.splitlines(), Faults(path)
    header = next((at for at, line in enumerate(lines) if line.strip()), 0)
    delimiter = _delimiter(path, lines[header]) if text.strip() else None
    columns: tuple[str, ...] = ()
    if delimiter is None:
        entries = list(_text_entries(lines, faults))
    else:
        columns = _path_and_label(path, _columns(lines[header], delimiter))
        entries = list(_table_entries(lines, header, delimiter, columns, faults))
    faults.check()
    if not entries:
        raise DataError(
            f"{path}: lines `path label`, or a CSV with the header path,label, expected, got no "
            "image; is this the right file?"
        )
    first_line: dict[str, int] = {}
    for at, entry in enumerate(entries):
        image_path = _posix(on_disk(_posix(entry.path)))
        entries[at] = Entry(entry.line, image_path, entry.label, entry.class_name)
        before = first_line.setdefault(image_path, entry.line)
        if before != entry.line:
            faults.add(
                entry.line,
                "every image once",
                f"{image_path} as in line {before}",
                "remove one of the two lines",
            )
    faults.check()
    return ListLines(
        path, entries, tuple(name for name in columns if name not in ("path", "label"))
    )


def _delimiter(path: Path, first: str) -> str | None:
    """What divides the columns of a table by its header; None for lines `path label`."""
    for delimiter in DELIMITERS:
        columns = _columns(first, delimiter)
        if len(columns) > 1 and {*columns} & {*PATH_COLUMNS, *LABEL_COLUMNS}:
            return delimiter
    words = first.split()
    is_pair = len(words) == 2 and not {*words[1]} & {*DELIMITERS}
    for delimiter in (",", ";"):
        fields = [text.strip() for text in next(csv.reader([first], delimiter=delimiter))]
        ends = (fields[0], fields[-1])
        has_image = any(PurePosixPath(end).suffix.lower() in SUFFIXES for end in ends)
        is_path = "/" in fields[0] and not is_pair
        if len(fields) > 1 and (has_image or is_path or any(map(is_number, ends))):
            raise DataError(
                f"{path}, line 1: a header such as path{delimiter}label expected, got "
                f"'{short(first)}', which looks like an image; put a line with the names of the "
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


def _text_entries(lines: list[str], faults: Faults) -> Iterator[Entry]:
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) == 2 and is_number(fields[0]) and not is_number(fields[1]):
            faults.add(
                number, "a path and then a label", f"'{short(line)}'", "write the path first"
            )
        elif len(fields) == 2:
            yield Entry(number, *fields)
        elif fields:
            faults.add(
                number,
                "a path without blanks and a label",
                f"{len(fields)} fields: '{short(line)}'",
                "for paths with blanks give a CSV with the header path,label",
            )


def _table_entries(
    lines: list[str], header: int, delimiter: str, taken: tuple[str, ...], faults: Faults
) -> Iterator[Entry]:
    columns = _columns(lines[header], delimiter)
    of_path, of_label = taken
    of_name = next((name for name in NAME_COLUMNS if name in columns and name != of_label), "")
    rows = csv.reader(lines[header + 1 :], delimiter=delimiter)
    for fields in rows:
        number = header + 1 + rows.line_num
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
        yield Entry(number, row[of_path], row[of_label], row.get(of_name) or None)


def _columns(header: str, delimiter: str) -> list[str]:
    names = next(csv.reader([header], delimiter=delimiter))
    return [re.sub(r"[ -]", "_", name.strip().lower()) for name in names]


def _posix(path: str) -> str:
    """One spelling for each path, so that `./a.jpg` and `a.jpg` are the same image."""
    path = path.replace("\\", "/")
    # A path object for each of 437,513 lines would take seconds.
    return str(PurePosixPath(path)) if "//" in path or "./" in path else path


def short(text: str) -> str:
    """The beginning of a text, for a message."""
    return text if len(text) <= 60 else text[:57] + "..."
