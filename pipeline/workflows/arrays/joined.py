"""Rows of several files as one array that is never made: side by side, or one below the other.

V views, N samples, W columns. Features may be larger than memory, and of several backbones or in
many files; what reads them asks for a block of rows at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Joint = Literal["columns", "rows"]
_AXES: dict[Joint, int] = {"columns": -1, "rows": -2}


class Joined:
    """Arrays (V, N, W) of several files as one: as much of an array as reading rows asks for.

    Args:
        parts: by file, of one number of views; of one number of rows if columns are joined, of one
            width if rows are.
        joint: what is joined.

    Attributes:
        parts: as given.
        shape: (V, N, W) of the whole; (N, W) of one view.
        dtype: that holds every part.
    """

    def __init__(self, parts: Mapping[str, Array], joint: Joint) -> None:
        self.parts, self._joint = parts, joint
        arrays = list(parts.values())
        axis = _AXES[joint]
        shape = list(arrays[0].shape)
        self._ends = list(accumulate(array.shape[axis] for array in arrays))
        shape[axis] = self._ends[-1]
        self.shape: tuple[int, ...] = tuple(shape)
        self.dtype = np.result_type(*arrays)
        self.ndim, self.size = len(shape), int(np.prod(shape))

    def __len__(self) -> int:
        """V, or N of one view."""
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        """View after view."""
        return (self[place] for place in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        """A view, rows of one view, or both at once: `[view]`, `[rows]`, `[view, rows]`."""
        if self.ndim == 3:
            view, *rows = index if isinstance(index, tuple) else (index,)
            one = Joined({name: part[view] for name, part in self.parts.items()}, self._joint)
            return one[rows[0]] if rows else one
        if self._joint == "columns":
            return np.concatenate([part[index] for part in self.parts.values()], axis=-1)
        places = np.arange(self.shape[0])[index]
        return self._rows(np.atleast_1d(places))[() if places.ndim else 0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """All of it in memory, for what is small."""
        whole = np.concatenate(list(self.parts.values()), axis=_AXES[self._joint])
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def _rows(self, places: npt.NDArray[np.int64]) -> Array:
        """Rows (B, W) at ascending places (B,)."""
        owners = np.searchsorted(self._ends, places, side="right")
        found = []
        for owner, part in enumerate(self.parts.values()):
            own = places[owners == owner] - (self._ends[owner] - len(part))
            found.append(part[own].astype(self.dtype, copy=False))
        return np.concatenate(found)


def sources(rows: Any, *, where: str) -> Sequence[tuple[str, Array]]:
    """The arrays that rows are made of, each with the file that an error names."""
    return list(rows.parts.items()) if isinstance(rows, Joined) else [(where, rows)]
