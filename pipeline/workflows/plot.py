"""Figures from a cache and rectifiers, each with the numbers it shows."""

from collections.abc import Callable, Iterable
from pathlib import Path

from matplotlib.figure import Figure

from marr_pipeline.errors import ConfigError
from marr_pipeline.groups import shot_groups
from marr_pipeline.plots.confusion import confusion_figure, confusion_table
from marr_pipeline.plots.curves import ClassCurves, curves_figure, curves_table
from marr_pipeline.plots.save import Table, save_figure
from marr_pipeline.report.metrics import confusion_counts
from marr_pipeline.workflows.cached import CacheLike
from marr_pipeline.workflows.evaluate import Evaluation, evaluate


def draw_curves(evaluation: Evaluation) -> tuple[Figure, Table]:
    """Average logit, margin and accuracy of each class, head to tail (Figures 1 and 5)."""
    cached, curves = evaluation.cached, {}
    for key, rectifier in evaluation.rectifiers.items():
        averages = evaluation.rows.averages(rectifier)
        curves[key] = ClassCurves(
            mean_logit=averages.mean_logit,
            mean_margin=averages.mean_margin,
            accuracy=evaluation.rows.metrics(rectifier).per_class,
            logit_correlation=averages.logit_correlation,
            margin_correlation=averages.margin_correlation,
        )
    counts, groups, names = (
        cached.class_counts,
        shot_groups(cached.class_counts),
        cached.class_names,
    )
    return (
        curves_figure(counts, curves, groups=groups, class_names=names),
        curves_table(counts, curves, groups=groups, class_names=names),
    )


def draw_confusion(evaluation: Evaluation) -> tuple[Figure, Table]:
    """Confusion matrices side by side (Figure 3c and d)."""
    cached = evaluation.cached
    confusions = {
        key: confusion_counts(evaluation.rows.scores(rectifier), cached.num_classes)
        for key, rectifier in evaluation.rectifiers.items()
    }
    counts, groups, names = (
        cached.class_counts,
        shot_groups(cached.class_counts),
        cached.class_names,
    )
    return (
        confusion_figure(confusions, class_counts=counts, groups=groups, class_names=names),
        confusion_table(confusions, class_counts=counts, groups=groups, class_names=names),
    )


FIGURES: dict[str, Callable[[Evaluation], tuple[Figure, Table]]] = {
    "curves": draw_curves,
    "confusion": draw_confusion,
}


def plot(
    figure: str,
    cache: CacheLike,
    rectifiers: Iterable[Path] = (),
    *,
    output: Path,
    split: str = "test",
    any_head: bool = False,
) -> list[Path]:
    """Draw a cache before and after rectifiers.

    Args:
        figure: one of `FIGURES`.
        cache: the cache.
        rectifiers: files that `rectify` wrote.
        output: `.png`, `.pdf` or `.svg`; the numbers go beside it as `.csv`.
        split: whose samples are shown.
        any_head: accept rectifiers that were fitted on another head.

    Returns:
        The files written.

    Raises:
        CacheError, DataError: as `evaluate`.
        ConfigError: no such figure, or two files of one stem.
        PlotError: another ending.
    """
    if figure not in FIGURES:
        raise ConfigError(f"figure: one of {', '.join(FIGURES)} expected, got {figure}")
    evaluation = evaluate(cache, rectifiers, split=split, any_head=any_head, baselines=("softmax",))
    drawn, table = FIGURES[figure](evaluation)
    return list(save_figure(drawn, output, table))
