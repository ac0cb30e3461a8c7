"""Row numbers of a source's images."""

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
"""(R,), each in [0, number of images)."""
