"""An option that takes one of some words, or a file that exists."""

from collections.abc import Sequence
from pathlib import Path

import click


class WordOrFile(click.ParamType[str]):
    """The word or the path, as it was typed; in `./uniform` a file may have a word's name."""

    name = "word or file"

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(words)

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word or the path itself."""
        if value not in self._words and not Path(value).is_file():
            words = ", ".join(self._words)
            self.fail(f"{words} or a file expected, got {value}, which does not exist", param, ctx)
        return value

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What help shows."""
        return f"[{'|'.join(self._words)}|FILE]"
