"""Figures over the classes, from head to tail, before and after rectifiers."""

from typing import TYPE_CHECKING

import numpy as np

from marr_pipeline.errors import ConfigError
from marr_pipeline.names import REFERENCES
from marr_pipeline.plots.class_axis import ClassAxis
from marr_pipeline.plots.classwise import ClassScores, draw_classwise
from marr_pipeline.plots.confusion import draw_confusion
from marr_pipeline.plots.curves import ClassCurves, draw_curves
from marr_pipeline.plots.parameters import LogitParameters, MarginParameters, draw_parameters
from marr_pipeline.plots.reliability import ReliabilityBins, draw_reliability
from marr_pipeline.plots.save import Drawing
from marr_pipeline.plots.style import Width
from marr_pipeline.rectify.rectifier import HeadRectifier, Rectifier
from marr_pipeline.report import metrics
from marr_pipeline.report.metrics import confusion_counts, measure
from marr_pipeline.workflows.scored_rows import closed_form

if TYPE_CHECKING:
    from marr_pipeline.workflows.evaluate import Evaluation


def curves(axis: ClassAxis, evaluation: "Evaluation", width: Width) -> Drawing:
    """Average logit, margin and accuracy of each class, head to tail (Figures 1 and 5)."""
    _only_page("curves", width)
    found = {}
    for key, rectifier in evaluation.rectifiers.items():
        scores = evaluation.rows.scores(rectifier)
        averages = evaluation.rows.averages(rectifier, scores)
        accuracy = measure(scores, axis.class_counts).per_class
        found[key] = ClassCurves(accuracy=accuracy, **vars(averages))
    return draw_curves(axis, found)


def confusion(axis: ClassAxis, evaluation: "Evaluation", width: Width) -> Drawing:
    """Confusion matrices side by side (Figure 3c and d)."""
    _only_page("confusion", width)
    counts = {
        key: confusion_counts(evaluation.rows.scores(rectifier), axis.num_classes)
        for key, rectifier in evaluation.rectifiers.items()
    }
    return draw_confusion(axis, counts)


def _only_page(figure: str, width: Width) -> None:
    if width != "page":
        raise ConfigError(f"{figure}: a figure of both columns' width expected, got {width}")


def classwise(axis: ClassAxis, evaluation: "Evaluation", width: Width) -> Drawing:
    """Accuracy and F1 of each class, head to tail, before and after (Figure 6)."""
    scores = {
        key: ClassScores(
            accuracy=found.per_class,
            f1=found.class_f1,
            overall=found.overall,
            macro_f1=found.macro_f1,
        )
        for key, found in evaluation.metrics().items()
    }
    return draw_classwise(axis, scores, width=width)


def reliability(axis: ClassAxis, evaluation: "Evaluation", width: Width) -> Drawing:
    """Accuracy against confidence, overall and of each group, before and after."""
    rows = evaluation.rows
    has_rows = np.bincount(rows.labels, minlength=axis.num_classes) > 0
    groups = {name: own for name, own in axis.groups.items() if (own & has_rows).any()}
    parts = {"overall": np.ones_like(has_rows), **(groups if len(groups) > 1 else {})}
    bins = {}
    for key, rectifier in evaluation.rectifiers.items():
        scores = rows.scores(rectifier)
        bins[key] = {
            part: ReliabilityBins(**vars(metrics.reliability(scores, members)))
            for part, members in parts.items()
        }
    return draw_reliability(bins, width=width)


def parameters(axis: ClassAxis, evaluation: "Evaluation", width: Width) -> Drawing:
    """MARR's omega and beta, or scales and shifts, against the training images of a class.

    Shifts are moved to mean 0, as logit adjustment's are.

    Raises:
        ConfigError: no rectifier, or one without numbers of each class.
    """
    fitted = {k: v for k, v in evaluation.rectifiers.items() if k not in REFERENCES}
    for key, rectifier in fitted.items():
        is_alike = bool((rectifier.scale == rectifier.scale[0]).all()) and bool(
            (rectifier.shift == rectifier.shift[0]).all()
        )
        if isinstance(rectifier, HeadRectifier) or (is_alike and "omega" not in rectifier.own):
            raise ConfigError(
                f"parameters: rectifiers with a scale or shift of each class expected, got {key}; "
                "leave it out"
            )
    if not fitted:
        raise ConfigError("parameters: at least one rectifier expected, got none; give its file")
    adjusted = closed_form(evaluation.cached, "logit-adjustment")
    is_margin = all("omega" in rectifier.own for rectifier in fitted.values())

    def numbers(rectifier: Rectifier) -> MarginParameters | LogitParameters:
        scale, shift = rectifier.scale.numpy(), rectifier.centred().shift.numpy()
        if not is_margin:
            return LogitParameters(scale=scale, shift=shift)
        if "omega" in rectifier.own:
            own = rectifier.own
            return MarginParameters(omega=own["omega"].numpy(), beta=own["beta"].numpy())
        norm = evaluation.rows.weight_norm
        beta = np.divide(shift, norm, out=np.full_like(shift, np.nan), where=norm > 0)
        return MarginParameters(omega=scale, beta=beta)

    series = {key: numbers(rectifier) for key, rectifier in fitted.items()}
    return draw_parameters(axis, series, reference=numbers(adjusted), width=width)
