"""A single array in an `.npy` file, mapped: read where and when it is needed."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from marr_pipeline.cache.errors import CacheError, first_line


def map_npy(path: Path) -> npt.NDArray[Any]:
    """The array of an `.npy`, its bytes left in the file; no pickled object is ever loaded.

    Raises:
        CacheError: not an `.npy`, truncated, or it holds objects.
    """
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise CacheError(
            f"{path}: an .npy file with one array of numbers expected, got {first_line(error)}; "
            "use numpy.save(path, array)"
        ) from error
    if not isinstance(loaded, np.ndarray):
        loaded.close()
        raise CacheError(
            f"{path}: an .npy file with one array expected, got an archive; name it .npz"
        )
    return loaded
