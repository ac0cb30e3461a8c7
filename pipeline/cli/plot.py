"""`pipeline plot`: figures from a cache and rectifiers, each with the numbers it shows."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from marr_pipeline import names
from marr_pipeline.cli.command import command, note
from marr_pipeline.cli.options import check_output, input_type, output_type

if TYPE_CHECKING:
    from marr_pipeline.cli.evaluate import Evaluation

SUFFIXES = (".png", ".pdf", ".svg")


def plot_curves(evaluation: "Evaluation", output: Path) -> list[Path]:
    """Average logit, margin and accuracy of each class, head to tail (Figures 1 and 5)."""
    from marr_pipeline.groups import shot_groups
    from marr_pipeline.plots.curves import ClassCurves, curves_figure, curves_table
    from marr_pipeline.plots.save import save_figure

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
    groups, class_names = shot_groups(cached.class_counts), cached.class_names
    figure = curves_figure(cached.class_counts, curves, groups=groups, class_names=class_names)
    table = curves_table(cached.class_counts, curves, groups=groups, class_names=class_names)
    return list(save_figure(figure, output, table))


def plot_confusion(evaluation: "Evaluation", output: Path) -> list[Path]:
    """Confusion matrices side by side (Figure 3c and d)."""
    from marr_pipeline.groups import shot_groups
    from marr_pipeline.plots.confusion import confusion_figure, confusion_table
    from marr_pipeline.plots.save import save_figure
    from marr_pipeline.report.metrics import confusion_counts

    cached = evaluation.cached
    counts = {
        key: confusion_counts(evaluation.rows.scores(rectifier), cached.num_classes)
        for key, rectifier in evaluation.rectifiers.items()
    }
    groups, class_names = shot_groups(cached.class_counts), cached.class_names
    figure = confusion_figure(
        counts, class_counts=cached.class_counts, groups=groups, class_names=class_names
    )
    table = confusion_table(
        counts, class_counts=cached.class_counts, groups=groups, class_names=class_names
    )
    return list(save_figure(figure, output, table))


FIGURES = {"curves": plot_curves, "confusion": plot_confusion}


@command("plot")
@click.argument("figure", type=click.Choice(list(FIGURES)))
@click.argument("cache", type=input_type)
@click.argument("rectifiers", type=input_type, nargs=-1)
@click.option("--split", type=click.Choice(names.SPLITS), default="test")
@click.option("--any-head", is_flag=True, help="Accept rectifiers fitted on another head.")
@click.option("-o", "--output", type=output_type, required=True, help="Figure: .png, .pdf, .svg.")
def cli_command(
    figure: str,
    cache: Path,
    rectifiers: tuple[Path, ...],
    split: str,
    any_head: bool,
    output: Path,
) -> None:
    """Draw FIGURE of CACHE before and after RECTIFIERS; its numbers go beside it as .csv."""
    from marr_pipeline.cli.evaluate import open_evaluation

    check_output(output, suffixes=SUFFIXES)
    evaluation = open_evaluation(
        cache, rectifiers, split=split, any_head=any_head, baselines=("softmax",)
    )
    written = FIGURES[figure](evaluation, output)
    note(f"wrote {' and '.join(map(str, written))}")
