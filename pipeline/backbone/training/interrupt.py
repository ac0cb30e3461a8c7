"""Ctrl-C and SIGTERM that wait for the end of the step, so that what is saved is a whole state."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Within the block, Ctrl-C and SIGTERM are only noted; the yielded function tells of it.

    A second Ctrl-C raises KeyboardInterrupt at once. A second SIGTERM does not: schedulers repeat
    it, and those who cannot wait send SIGKILL. Outside the main thread nothing changes: Python
    delivers signals to the main thread only.
    """
    noted = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if noted.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        noted.set()

    if threading.current_thread() is not threading.main_thread():
        yield noted.is_set
        return
    previous = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield noted.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
