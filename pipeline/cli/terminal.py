r"""What a terminal is sent: text, and no orders.

Names of classes, files and folders are anybody's. A control character in one, such as those that
move the cursor, set the title or hide what is printed, is written as `\x1b`, like Python does.
"""

import io
import os
import sys
from typing import Any

from marr_pipeline.progress import CLEAR_LINE, printable


class PrintableStream:
    """A text stream that escapes orders, but for the one that `ProgressLine` begins with.

    Args:
        stream: whatever else is asked of it.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write it printable; the number of characters."""
        first = CLEAR_LINE if text.startswith(CLEAR_LINE) else ""
        return int(self._stream.write(first + printable(text.removeprefix(first))))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def prepare_streams() -> None:
    """Make stdout and stderr printable.

    What a caller has closed, as `>&-` does, takes what is written and forgets it. A character that
    the encoding lacks, as that of a pipe on Windows may, is escaped.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            stream = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        if not isinstance(stream, PrintableStream):
            setattr(sys, name, PrintableStream(stream))
