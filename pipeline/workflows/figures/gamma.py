"""Accuracy against gamma, beside softmax and logit adjustment (Figure 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from marr_pipeline.optim.solvable import FitStatus
from marr_pipeline.plots.class_axis import ClassAxis
from marr_pipeline.plots.gamma import GammaCurve, draw_gamma
from marr_pipeline.plots.save import Drawing
from marr_pipeline.plots.style import Width
from marr_pipeline.rectify.fit import preset_settings

if TYPE_CHECKING:
    from marr_pipeline.workflows.evaluate import Evaluation

UNSOLVED = (FitStatus.STEP_LIMIT, FitStatus.UNBOUNDED)


@dataclass(frozen=True, kw_only=True)
class SweptGamma:
    """Fits that differ in gamma alone.

    Attributes:
        points: their rows of a table of `sweep`, at least two, by ascending gamma.
        chosen: gamma that is marked; None for the preset's.
    """

    points: Sequence[Mapping[str, str]]
    chosen: float | None = None

    def curve(self) -> GammaCurve:
        """Its numbers, NaN where a cell is empty."""
        first = self.points[0]
        values = {
            each.name: np.array([float(row[each.name] or "nan") for row in self.points])
            for each in fields(GammaCurve)
            if each.name in first
        }
        chosen = self.chosen
        if chosen is None:
            chosen = preset_settings(first["preset"], method=first["method"]).gamma
        solved = np.array([float(row["status"] not in UNSOLVED) for row in self.points])
        return GammaCurve(**values, is_solved=solved, chosen=chosen)


def gamma(
    axis: ClassAxis, evaluation: "Evaluation", width: Width, *, swept: Mapping[str, SweptGamma]
) -> Drawing:
    """Accuracy against gamma, beside softmax and logit adjustment (Figure 4).

    Args:
        axis: the classes.
        evaluation: of the split that was swept.
        width: of the figure.
        swept: a curve each, by the words of the legend.
    """
    references = {}
    for key, name in evaluation.names.items():
        found = evaluation.rows.metrics(evaluation.rectifiers[key])
        references[name] = (found.overall, found.balanced, found.nll)
    curves = {name: one.curve() for name, one in swept.items()}
    return draw_gamma(curves, references, width=width)
