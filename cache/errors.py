"""What reading and writing a cache can raise.

Wording everywhere: `<where>: <expected>, got <actual>; <what to do>`.
"""


class CacheError(Exception):
    """A cache, or arrays meant for one, that exist but are invalid or lack what is asked for."""


class StaleCacheError(CacheError):
    """The cache was made from something else than what is asked for now.

    Attributes:
        differences: one readable line for each thing that differs.
    """

    def __init__(self, message: str, *, differences: list[str]) -> None:
        super().__init__(message)
        self.differences = differences


class CacheWriteError(CacheError):
    """The file cannot be written: folder missing or read-only, disk full, or a second writer."""
