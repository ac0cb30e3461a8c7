"""Figures from a cache and rectifiers, each with the numbers it shows."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from marr_pipeline.errors import ConfigError
from marr_pipeline.groups import shot_groups
from marr_pipeline.plots.class_axis import ClassAxis
from marr_pipeline.plots.classwise import ClassScores, draw_classwise
from marr_pipeline.plots.confusion import draw_confusion
from marr_pipeline.plots.curves import ClassCurves, draw_curves
from marr_pipeline.plots.save import Drawing, save_drawing
from marr_pipeline.plots.style import Width
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.report.metrics import confusion_counts, measure
from marr_pipeline.workflows.cached import CacheLike
from marr_pipeline.workflows.evaluate import Evaluation, evaluate


def curves(axis: ClassAxis, evaluation: Evaluation, width: Width) -> Drawing:
    """Average logit, margin and accuracy of each class, head to tail (Figures 1 and 5)."""
    _only_page("curves", width)
    found = {}
    for key, rectifier in evaluation.rectifiers.items():
        scores = evaluation.rows.scores(rectifier)
        averages = evaluation.rows.averages(rectifier, scores)
        accuracy = measure(scores, axis.class_counts).per_class
        found[key] = ClassCurves(accuracy=accuracy, **vars(averages))
    return draw_curves(axis, found)


def confusion(axis: ClassAxis, evaluation: Evaluation, width: Width) -> Drawing:
    """Confusion matrices side by side (Figure 3c and d)."""
    _only_page("confusion", width)
    counts = {
        key: confusion_counts(evaluation.rows.scores(rectifier), axis.num_classes)
        for key, rectifier in evaluation.rectifiers.items()
    }
    return draw_confusion(axis, counts)


def classwise(axis: ClassAxis, evaluation: Evaluation, width: Width) -> Drawing:
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


FIGURES: dict[str, Callable[[ClassAxis, Evaluation, Width], Drawing]] = {
    "curves": curves,
    "confusion": confusion,
    "classwise": classwise,
}


def labelled(rectifiers: Mapping[str, Rectifier]) -> dict[str, Rectifier]:
    """By the words of a legend: method and preset, `marr (default)`; alike ones by their key too.

    Args:
        rectifiers: by file stem, or by method if they are baselines.
    """
    names = {}
    for key, rectifier in rectifiers.items():
        preset = rectifier.metadata.get("preset")
        names[key] = f"{rectifier.method} ({preset})" if preset else rectifier.method
    times = Counter(names.values())
    return {
        name if times[name] == 1 or name == key else f"{key}: {name}": rectifiers[key]
        for key, name in names.items()
    }


def _only_page(figure: str, width: Width) -> None:
    if width != "page":
        raise ConfigError(f"{figure}: a figure of both columns' width expected, got {width}")


def plot(
    figure: str,
    cache: CacheLike,
    rectifiers: Iterable[Path] = (),
    *,
    output: Path,
    split: str = "test",
    any_head: bool = False,
    width: Width = "page",
    dpi: int | None = None,
    title: str = "",
) -> list[Path]:
    """Draw a cache before and after rectifiers.

    Args:
        figure: one of `FIGURES`.
        cache: the cache.
        rectifiers: files that `rectify` wrote.
        output: `.png`, `.pdf` or `.svg`; the numbers go beside it as `.csv`.
        split: whose samples are shown.
        any_head: accept rectifiers that were fitted on another head.
        width: of a paper's two columns or, for `classwise`, of one.
        dpi: dots per inch of a `.png`; None for 200.
        title: over the figure.

    Returns:
        The files written.

    Raises:
        CacheError, DataError: as `evaluate`.
        ConfigError: no such figure, one that has not this width, or two files of one stem.
        PlotError: another ending.
    """
    if figure not in FIGURES:
        raise ConfigError(f"figure: one of {', '.join(FIGURES)} expected, got {figure}")
    evaluation = evaluate(cache, rectifiers, split=split, any_head=any_head, baselines=("softmax",))
    evaluation = replace(evaluation, rectifiers=labelled(evaluation.rectifiers))
    cached = evaluation.cached
    axis = ClassAxis(
        class_counts=cached.class_counts,
        groups=shot_groups(cached.class_counts),
        class_names=cached.class_names,
    )
    drawing = FIGURES[figure](axis, evaluation, width)
    return list(save_drawing(drawing, output, dpi=dpi, title=title))
