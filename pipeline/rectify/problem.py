"""F over weighted rows, as a solver sees it; the families of methods are subclasses."""

from copy import copy
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from torch import Tensor

from marr_pipeline.optim.ridge import Ridge
from marr_pipeline.optim.solvable import Curved, Solvable
from marr_pipeline.progress import Progress, silent

if TYPE_CHECKING:
    from marr_pipeline.rectify.rows.weighted_rows import WeightedRows

Loss = TypeVar("Loss", bound="WeightedRows")


class Problem(Solvable, Generic[Loss]):
    """A `Solvable` whose L is made of a loss over rows.

    Args:
        loss: what L is made of. For the others see `Solvable`.
    """

    def __init__(
        self, loss: Loss, ridge: Ridge, *, free: Tensor | None = None, progress: Progress = silent
    ) -> None:
        super().__init__(ridge, free=free, progress=progress)
        self.loss = loss

    @property
    def num_rows(self) -> int:
        """R."""
        return self.loss.num_rows

    @property
    def num_classes(self) -> int:
        """K."""
        return self.loss.num_classes

    @property
    def memory(self) -> int | None:
        """The bound on buffers, in bytes."""
        return self.loss.memory

    def subset(self, rows: Tensor) -> Self:
        """The same problem on some rows (B,) int64 alone, with a count of passes of its own."""
        part = copy(self)
        part.loss, part.passes, part._progress = self.loss.subset(rows), 0.0, silent
        return part

    def thin(self, rows_per_class: int) -> Self:
        """An estimate of F from at most that many rows of each class; see `thinning`."""
        return self._standing_for_this(self.loss.thin(rows_per_class))

    def _standing_for_this(self, loss: Loss) -> Self:
        part = copy(self)
        part.loss, part.passes, part._whole = loss, 0.0, self
        return part


class CurvedProblem(Problem[Loss], Curved):
    """One whose Hessian can be had."""
