"""Every checksum of a cache.

The work is the format's own; this is its one door for commands, which know no cache.
"""

from pathlib import Path

from marr_pipeline.cache import Damage, verify_cache
from marr_pipeline.progress import Progress, silent


def verify(cache: Path, *, progress: Progress = silent) -> list[Damage]:
    """What is damaged, in words; empty if every byte is as it was written.

    Args:
        cache: the file.
        progress: told the bytes.

    Raises:
        CacheError: not a cache, unfinished, truncated or of a newer version.
    """
    return list(verify_cache(cache, progress=progress))
