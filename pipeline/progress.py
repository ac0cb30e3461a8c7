"""How long work tells its caller how far it is; what is shown is the caller's choice."""

from typing import Protocol


class Progress(Protocol):
    """Called from time to time with the work done so far, and once at the end."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Report `done` of `total` units; `note` is a short reading such as `loss 0.73`.

        A total of 0 means that none is known until the end, whose call has `done == total`.
        """


def silent(done: int, total: int, note: str = "") -> None:
    """The default of every library function: nothing is shown."""
