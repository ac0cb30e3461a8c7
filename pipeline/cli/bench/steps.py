"""How a bench tells what it does."""

import time

import click

SHORT_SECONDS = 2.0


class AnnouncedSteps:
    """A `Progress` that names each step as it begins; of a short run it shows nothing.

    A rate would mean nothing: no two steps are alike.
    """

    def __init__(self, *, is_long: bool = False) -> None:
        self._is_long = is_long
        self._begin = time.monotonic()

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """A line on stderr, if the run is long enough to want one."""
        if note and (self._is_long or time.monotonic() - self._begin > SHORT_SECONDS):
            click.echo(f"bench: {min(done + 1, total)}/{total} {note}", err=True)
