"""Which class has which label, where classes have names: sorted as text, or as a file says."""

import re
from collections.abc import Sequence
from pathlib import Path

from marr_pipeline.errors import DataError

MOST_NAMED = 5
_NUMBERED = re.compile(r"([^0-9]*)([0-9]+(?:\.[0-9]+)?)")


def read_class_order(path: Path) -> tuple[str, ...]:
    """K names, one a line, label 0 first.

    Raises:
        DataError: the file is no text, has no name or a name twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(
            f"{path}: a text file with a class a line expected, got {error}; see --class-order"
        ) from error
    names = [line.strip() for line in lines if line.strip()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise DataError(
            f"{path}: every class once expected, got {named(twice) or 'none'}"
            f"{' more than once' if twice else ''}; write one class a line"
        )
    return tuple(names)


def in_order(found: set[str], order: Sequence[str] | None, *, where: str) -> tuple[str, ...]:
    """The classes found, sorted as text or in `order`.

    Raises:
        DataError: `order` is not of these classes.
    """
    if order is None:
        return tuple(sorted(found))
    missing, unknown = sorted(found - set(order)), sorted(set(order) - found)
    if missing or unknown:
        raise DataError(
            f"--class-order: the {len(found):,} classes of {where} expected, got {len(missing):,} "
            f"missing ({named(missing) or 'none'}) and {len(unknown):,} unknown "
            f"({named(unknown) or 'none'}); write every class once"
        )
    return tuple(order)


def numbers_as_text(names: Sequence[str]) -> list[str]:
    """A line where sorting as text has put numbers in another order than theirs.

    Names are numbered if each has a number after the same beginning: `-1`, `1.5`, `class10`,
    `10_owl`.
    """
    parts = [_NUMBERED.match(name) for name in names]
    found = [(part[1], float(part[2])) for part in parts if part]
    beginnings = {beginning for beginning, _ in found}
    if len(found) < len(names) or not (len(beginnings) == 1 or beginnings == {"", "-"}):
        return []
    values = [-value if beginning == "-" else value for beginning, value in found]
    at = next((i for i in range(1, len(values)) if values[i] < values[i - 1]), None)
    if at is None:
        return []
    return [
        f"class names are numbered and stand in the order of text, {names[at - 1]} before "
        f"{names[at]}: label {at - 1} is class {names[at - 1]}, label {at} class {names[at]}; "
        "--class-order FILE gives another order"
    ]


def named(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
