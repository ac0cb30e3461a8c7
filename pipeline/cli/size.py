"""Sizes of memory as they are typed: 64M, 1.5G."""

import re

import click

UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


class Size(click.ParamType[int]):
    """Bytes, with a suffix for binary multiples."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Bytes of `2G`, `1.5G`, `64MiB`, `1000000`; a plain number is a number of bytes."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(value).strip(), re.I)
        if found is None:
            self.fail(f"a size such as 64M or 2G expected, got {value!r}", param, ctx)
        return int(float(found[1]) * UNITS[found[2].upper()])


size_type = Size()
