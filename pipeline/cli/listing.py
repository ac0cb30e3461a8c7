"""Lists as they are typed: 0.5,1,2 or a range 0:1.6:0.2, and names out of a choice."""

import math
from collections.abc import Sequence

import click


class NumberList(click.ParamType[tuple[float, ...]]):
    """Numbers with commas between them, or `first:last:step` with both ends."""

    name = "numbers"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """The numbers, in the order given."""
        if isinstance(value, tuple):
            return value
        text = str(value)
        try:
            if ":" in text:
                first, last, step = (float(part) for part in text.split(":"))
                return _range(first, last, step)
            return tuple(float(part) for part in text.split(","))
        except (ValueError, ZeroDivisionError):
            self.fail(f"numbers such as 0,1,1.2 or 0:1.6:0.2 expected, got {text!r}", param, ctx)


class ChoiceList(click.ParamType[tuple[str, ...]]):
    """Names out of a choice, with commas between them."""

    name = "names"

    def __init__(self, choices: Sequence[str]) -> None:
        self._choices = tuple(choices)

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """The names, in the order given."""
        if isinstance(value, tuple):
            return value
        chosen = tuple(str(value).split(","))
        unknown = [name for name in chosen if name not in self._choices]
        if unknown:
            known = ", ".join(self._choices)
            self.fail(f"names out of {known} expected, got {unknown[0]!r}", param, ctx)
        return chosen

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What help shows."""
        return f"[{'|'.join(self._choices)}],..."


def _range(first: float, last: float, step: float) -> tuple[float, ...]:
    count = round((last - first) / step, 6)
    if not 0 <= count < math.inf:
        raise ValueError
    # Rounded, so that 0:1.6:0.2 has 0.6 and not 0.6000000000000001.
    return tuple(round(first + index * step, 12) for index in range(math.floor(count) + 1))
