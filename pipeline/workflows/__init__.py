"""One plain function a command, no click: where data, networks, caches, fits and figures meet."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marr_pipeline import __version__

CREATOR = f"marr-pipeline {__version__}"


def library_versions() -> dict[str, str]:
    """Versions that a cache records beside h5py's and HDF5's."""
    import numpy as np  # a command that asks for help needs neither
    import torch

    return {"torch": str(torch.__version__), "numpy": np.__version__}


def finite(value: Any) -> Any:
    """A document as JSON may have it: a number that is not finite becomes null, a path its text."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
