"""What a fit may use. None of it changes the optimum; memory and threads change no bit."""

from dataclasses import dataclass

from marr_pipeline.distributed import ALONE, Ranks
from marr_pipeline.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Limits and partners of a fit.

    Attributes:
        memory: bytes that the buffers of all threads may take together, beside the pages of a
            mapped file; None: one set of buffers for each of torch's threads.
        ranks: the processes that share the rows.
    """

    memory: int | None = None
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        if self.memory is not None and self.memory < 1:
            raise ConfigError(f"memory: at least 1 byte expected, got {self.memory}")

    def num_threads(self, available: int, *, thread_bytes: int) -> int:
        """How many of `available` threads may work at a time.

        Raises:
            ConfigError: the bound has no room for the buffers of a single thread.
        """
        if self.memory is None:
            return available
        if self.memory < thread_bytes:
            raise ConfigError(
                f"memory: at least {-(-thread_bytes // 1024**2)}M expected, the buffers of one "
                f"thread for these rows, got {self.memory / 1024**2:.3g}M; raise --memory"
            )
        return min(available, self.memory // thread_bytes)


UNLIMITED = Resources()
