"""What a post-hoc method is: a name's meaning, from rows to a rectifier."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from torch import Tensor

from marr_pipeline.findings import Finding
from marr_pipeline.notebook import html_table, short_repr
from marr_pipeline.optim.solvable import FitStatus, Solution
from marr_pipeline.rectify.inputs import FitContext, FitInputs, HeadFacts
from marr_pipeline.rectify.rectifier import HeadRectifier, Rectifier
from marr_pipeline.rectify.rows.resources import Resources
from marr_pipeline.rectify.settings import RectifySettings

if TYPE_CHECKING:
    from marr_pipeline.rectify.affine import Family

Need = Literal["logits", "features", "weight"]
"""Logits of every row, stored or made from its features; its features; the head's weight."""

ClosedForm = Callable[[HeadFacts, RectifySettings], Rectifier]
"""Scale, shift and the prior that they stand for, without a record of how they came to be."""
Path = Callable[
    [FitInputs, Sequence[RectifySettings], Tensor | None, Resources], Iterator[HeadRectifier]
]
"""Inputs, settings that differ in `l2` alone and fall, and the rows (R,) to be fitted to a head
at each of them."""


@dataclass(frozen=True, kw_only=True)
class FitResult(Solution):
    """A solution, and what a method made of it.

    Attributes:
        rectifier: at the solution, never shifted where there is a ridge.
        seconds: from open logits to the rectifier.
        warnings: for results that stand but need a look.
        chosen: settings that were left open, with the value that the fit has found.
        checks: what numbered checks found, where they were made.
    """

    __repr__ = short_repr

    rectifier: Rectifier
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    chosen: Mapping[str, Any] = field(default_factory=dict)
    checks: tuple[Finding, ...] = ()

    @property
    def is_unsolved(self) -> bool:
        """Whether it stopped at a limit or has no minimum."""
        return self.status in (FitStatus.STEP_LIMIT, FitStatus.UNBOUNDED)

    def record(self) -> dict[str, Any]:
        """How it ended, for JSON."""
        return {
            "status": str(self.status),
            "loss": self.loss,
            "gap_bound": self.gap_bound,
            "passes": self.passes,
            "seconds": self.seconds,
        }

    def _repr_html_(self) -> str:
        """How it ended, for a notebook."""
        rows = {"method": self.rectifier.method, **self.record()}
        return html_table(rows.items(), caption="\n".join((*self.warnings, *map(str, self.checks))))

    @classmethod
    def of(
        cls,
        solution: Solution,
        rectifier: Rectifier,
        *,
        warnings: Sequence[str] = (),
    ) -> Self:
        """What came of a fit."""
        return cls(**vars(solution), rectifier=rectifier, warnings=tuple(warnings))

    @classmethod
    def closed_form(
        cls,
        rectifier: Rectifier,
        *,
        warnings: Sequence[str] = (),
        chosen: Mapping[str, Any] | None = None,
    ) -> Self:
        """What came of nothing to fit."""
        nothing = torch.zeros(0, dtype=torch.float64)
        return cls(
            theta=nothing,
            status=FitStatus.CLOSED_FORM,
            rectifier=rectifier,
            warnings=tuple(warnings),
            chosen=chosen or {},
        )


@dataclass(frozen=True, kw_only=True)
class Method:
    """One post-hoc method.

    Attributes:
        fit: rows and settings to a rectifier.
        is_fitted: whether there is an objective to minimise; else settings of one are not heeded.
        closed_form: a rectifier from the head alone, where there is nothing to fit.
        family: what a fit in the affine core may choose, where the method lies in it.
        path: fits at one strength after another, of a method whose strength may be tuned.
        is_tuned: whether that is tuned unless it is given.
        needs: what a cache must hold.
        own_settings: settings that only methods which name them heed.
        settings: what this method changes in every preset, since its own authors have it so.
        presets: what it changes further in the preset of that name. A comparison shows those
            that are named here.
    """

    fit: Callable[[FitInputs, RectifySettings, FitContext], FitResult]
    is_fitted: bool = True
    closed_form: ClosedForm | None = None
    family: "Family | None" = None
    path: Path | None = None
    is_tuned: bool = False
    needs: tuple[Need, ...] = ("logits",)
    own_settings: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"default": {}})
