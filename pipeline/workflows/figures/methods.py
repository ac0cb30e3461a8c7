"""Figures that set methods against each other: by gamma (Figure 4), by prior, and by how much."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from marr_pipeline.names import REFERENCES
from marr_pipeline.optim.solvable import FitStatus
from marr_pipeline.plots.class_axis import ClassAxis
from marr_pipeline.plots.forest import Difference, draw_forest
from marr_pipeline.plots.gamma import GammaCurve, draw_gamma
from marr_pipeline.plots.priors import PriorValues, draw_priors
from marr_pipeline.plots.save import Drawing
from marr_pipeline.plots.style import Width
from marr_pipeline.rectify.fit import preset_settings
from marr_pipeline.report.bootstrap import Bootstrap
from marr_pipeline.report.comparison import Scored, Standing, compare_methods, difference_key
from marr_pipeline.report.population import as_sampled, tilted, under_distribution, under_priors
from marr_pipeline.report.tables import SIGNIFICANT

if TYPE_CHECKING:
    from marr_pipeline.workflows.evaluate import Evaluation

EXPONENTS = np.linspace(1.0, -1.0, 41).round(3)
"""Priors pi^t, from training's over uniform to its reverse."""


def priors(axis: ClassAxis, evaluation: "Evaluation", width: Width) -> Drawing:
    """Accuracy and likelihood of each method under priors from training to its reverse."""
    scores = {key: evaluation.rows.scores(one) for key, one in evaluation.rectifiers.items()}
    curves = under_priors(scores, axis.class_counts, EXPONENTS)
    values = {key: PriorValues(**vars(curve)) for key, curve in curves.items()}
    ends = tilted(axis.class_counts, 1.0)
    ratio = float(ends.max() / ends.min())
    return draw_priors(EXPONENTS, ratio, values, width=width, unit=axis.unit)


def forest(axis: ClassAxis, evaluation: "Evaluation", width: Width) -> Drawing:
    """Differences to softmax and logit adjustment in overall, balanced and few-shot accuracy.

    As `compare` has them. Balanced accuracy is that of a split with every class as often, and
    few-shot accuracy that of one with few-shot classes alone.
    """
    rows, counts = evaluation.rows, evaluation.cached.class_counts
    scored = {
        key: Scored(
            method=rectifier.method,
            status="",
            fit_split=None,
            scores=rows.scores(rectifier),
            facts={},
        )
        for key, rectifier in evaluation.rectifiers.items()
    }
    labels = rows.labels.numpy()
    populations = {"overall accuracy": as_sampled(labels, len(counts))}
    balanced = under_distribution(labels, np.ones(len(counts)))
    if balanced.is_as_sampled:
        populations = {"overall and balanced accuracy": balanced}
    else:
        populations["balanced accuracy"] = balanced
    few = axis.groups["few"].astype(np.float64)
    if few[labels].any() and not few.all():
        populations["few-shot accuracy"] = under_distribution(labels, few)
    panels, names = {}, evaluation.names
    for name, population in populations.items():
        found = compare_methods(
            scored, counts, population=population, bootstrap=Bootstrap(), cuts=rows.cuts
        )
        panels[name] = {
            names.get(key, key): _differences(standing, names)
            for key, standing in found.items()
            if key != REFERENCES[0]
        }
    return draw_forest(
        panels,
        marked=f"p < {SIGNIFICANT:g} (McNemar, Holm)",
        interval="95 % interval",
        width=width,
    )


def _differences(standing: Standing, names: Mapping[str, str]) -> dict[str, Difference]:
    """Of overall accuracy to each reference but itself, by its name."""
    found = {}
    for reference, name in names.items():
        estimate = standing.estimates.get(difference_key("overall", reference))
        if estimate is not None and estimate.interval is not None and estimate.p_holm is not None:
            low, high = estimate.interval
            found[name] = Difference(
                value=estimate.value,
                low=low,
                high=high,
                p=estimate.p_holm,
                is_marked=estimate.is_significant,
            )
    return found


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
