"""What a cache records of the program that wrote it."""

import numpy as np
import torch

from marr_pipeline import __version__

CREATOR = f"marr-pipeline {__version__}"


def library_versions() -> dict[str, str]:
    """Versions that a cache records beside h5py's and HDF5's."""
    return {"torch": str(torch.__version__), "numpy": np.__version__}
