"""What a post-hoc method is: a name's meaning, from rows to a rectifier."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from marr_pipeline.optim.result import FitStatus, Solution
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.affine.family import AffineFamily
from marr_pipeline.rectify.head_facts import HeadFacts
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.rectify.rows.resources import UNLIMITED, Resources
from marr_pipeline.rectify.settings import RectifySettings

Need = Literal["features", "weight"]
"""What beside the logits: features of every row, or the head's weight."""

ClosedForm = Callable[[HeadFacts, RectifySettings], tuple[Tensor, Tensor]]
"""Scale (K,) and shift (K,)."""
Family = Callable[[Tensor], AffineFamily]
"""weight_norm (K,) to what the method may choose."""


@dataclass(frozen=True, kw_only=True)
class FitContext:
    """What surrounds a fit.

    Attributes:
        dataset: name, which decides the length of `sgd`'s schedule.
        progress: told the passes over all rows, or the iterations of `sgd`.
        resources: bound on memory, and the processes that share the rows.
    """

    dataset: str | None = None
    progress: Progress = silent
    resources: Resources = UNLIMITED

    def tell_solved(self, solution: Solution) -> None:
        """Tell the progress of a fit by passes that it is over."""
        num_passes = math.ceil(solution.passes)
        self.progress(num_passes, num_passes, f"loss {solution.point.value:.6f}")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a method made of the rows, and how it ended.

    Attributes:
        rectifier: at the solution, never shifted where there is a ridge; without metadata.
        status: why the fit ended.
        loss: F with its ridge; None for a method in closed form, like the next two.
        gradient_norm: of F in the method's own parameters.
        gap_bound: upper bound on F - F*; None also without a ridge.
        passes: sweeps over all rows.
        num_parameters: numbers that were fitted.
        warnings: for results that stand but need a look.
    """

    rectifier: Rectifier
    status: FitStatus
    loss: float | None = None
    gradient_norm: float | None = None
    gap_bound: float | None = None
    passes: float = 0.0
    num_parameters: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Method:
    """One post-hoc method.

    Attributes:
        fit: rows and settings to a rectifier.
        is_fitted: whether there is an objective to minimise; else settings of one are not heeded.
        closed_form: scale and shift from the head alone, where there is nothing to fit.
        family: what a fit in the affine core may choose, where the method lies in it.
        needs: what a cache must hold beside the logits.
        own_settings: settings that only methods which name them heed.
        settings: what this method changes in every preset, since its own authors have it so.
        presets: what it changes further in the preset of that name. A comparison shows those
            that are named here.
    """

    fit: Callable[[FitInputs, RectifySettings, FitContext], Outcome]
    is_fitted: bool = True
    closed_form: ClosedForm | None = None
    family: Family | None = None
    needs: tuple[Need, ...] = ()
    own_settings: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"default": {}})
