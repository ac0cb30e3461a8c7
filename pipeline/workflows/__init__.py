"""One plain function a command, no click: where data, networks, caches, fits and figures meet."""

from marr_pipeline import __version__

CREATOR = f"marr-pipeline {__version__}"


def library_versions() -> dict[str, str]:
    """Versions that a cache records beside h5py's and HDF5's."""
    import numpy as np  # a command that asks for help needs neither
    import torch

    return {"torch": str(torch.__version__), "numpy": np.__version__}
