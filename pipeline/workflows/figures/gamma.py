"""Accuracy against gamma, beside softmax and logit adjustment (Figure 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
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


def gamma_curve(points: Sequence[Mapping[str, str]], chosen: float | None = None) -> GammaCurve:
    """Fits that differ in gamma alone, NaN where a cell of them is empty.

    Args:
        points: their rows of a table of `sweep`, at least two, by ascending gamma.
        chosen: gamma that is marked; None for the preset's.
    """
    first = points[0]
    values = {
        each.name: np.array([float(row[each.name] or "nan") for row in points])
        for each in fields(GammaCurve)
        if each.name in first
    }
    if chosen is None:
        chosen = preset_settings(first["preset"], method=first["method"]).gamma
    solved = np.array([float(row["status"] not in UNSOLVED) for row in points])
    return GammaCurve(**values, is_solved=solved, chosen=chosen)


def gamma(
    axis: ClassAxis, evaluation: "Evaluation", width: Width, *, swept: Mapping[str, GammaCurve]
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
    return draw_gamma(swept, references, width=width)
