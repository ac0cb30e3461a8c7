"""A command in several processes, started by torchrun: one of them speaks, and all end together."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from marr_pipeline.cli import EXIT_FAILED, EXIT_INTERRUPTED

if TYPE_CHECKING:
    import torch

    from marr_pipeline.distributed import Ranks

PATIENCE = timedelta(hours=6)
"""One process may be that much later than the others, with its images or its rows."""


@contextmanager
def together(device: "torch.device", *, sums: bool) -> Iterator["Ranks"]:
    """Join the other processes until the block ends.

    Args:
        device: where the work runs.
        sums: whether tensors on it will travel.

    Raises:
        click.exceptions.Exit: another process has ended and has said why, or every process was
            interrupted and the first one says so.
    """
    from marr_pipeline.distributed import LostRankError, joined_ranks

    with joined_ranks(device, sums=sums, patience=PATIENCE) as ranks:
        try:
            yield ranks
        except LostRankError as error:
            raise click.exceptions.Exit(EXIT_FAILED) from error
        except KeyboardInterrupt as error:
            if ranks.is_first:
                raise
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from error
