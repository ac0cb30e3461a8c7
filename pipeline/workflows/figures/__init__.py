"""The figures: an evaluation in, a drawing and its numbers out."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marr_pipeline.files import FIGURE, NUMBERS, replacing
from marr_pipeline.groups import shot_groups
from marr_pipeline.names import REFERENCES
from marr_pipeline.plots.class_axis import ClassAxis
from marr_pipeline.plots.save import Drawing, save_drawing
from marr_pipeline.plots.style import Width
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.workflows.cached import is_imported
from marr_pipeline.workflows.figures.classes import (
    classwise,
    confusion,
    curves,
    parameters,
    reliability,
)
from marr_pipeline.workflows.figures.geometry import geometry
from marr_pipeline.workflows.figures.methods import forest, gamma, priors

if TYPE_CHECKING:
    from marr_pipeline.workflows.evaluate import Evaluation

FIGURES: dict[str, Callable[..., Drawing]] = {
    "curves": curves,
    "confusion": confusion,
    "classwise": classwise,
    "gamma": gamma,
    "priors": priors,
    "geometry": geometry,
    "reliability": reliability,
    "parameters": parameters,
    "forest": forest,
}
BESIDE_BOTH = ("gamma", "priors", "forest")
"""Figures that show logit adjustment beside softmax whatever is asked for."""


BY_REFERENCE = ("gamma", "parameters", "forest")
"""Figures that look the references up, and name them themselves."""
OF_CLASSES = ("curves", "confusion", "classwise", "parameters")
"""Figures along whose axis the classes stand."""


def draw(
    figure: str,
    evaluation: "Evaluation",
    *,
    width: Width = "page",
    is_named: bool | None = None,
    **own: Any,
) -> Drawing:
    """One of `FIGURES`.

    Args:
        figure: which.
        evaluation: the references and rectifiers.
        width: of the figure.
        is_named: whether classes have their names along the axis; None for up to 40.
        own: arguments that the figure alone has.
    """
    has_fits = any(key not in REFERENCES for key in evaluation.rectifiers)
    is_beside_both = figure in BESIDE_BOTH or (figure == "geometry" and not has_fits)
    beside = REFERENCES if is_beside_both else REFERENCES[:1]
    shown = {
        key: one
        for key, one in evaluation.rectifiers.items()
        if key in beside or key not in REFERENCES
    }
    cached, rectifiers = evaluation.cached, labelled(shown)
    if figure not in BY_REFERENCE:
        names = evaluation.names
        rectifiers = {names.get(key, key): one for key, one in rectifiers.items()}
    evaluation = replace(evaluation, rectifiers=rectifiers)
    axis = ClassAxis(
        class_counts=cached.class_counts,
        groups=shot_groups(cached.class_counts, evaluation.rows.cuts),
        class_names=cached.class_names,
        is_named=is_named,
        unit="samples" if is_imported(cached) else "images",
    )
    return FIGURES[figure](axis, evaluation, width, **own)


def save_figure(
    drawing: Drawing, output: Path, *, dpi: int | None = None, title: str = "", overwrite: bool
) -> list[Path]:
    """Write a figure and its numbers, both of them or none, in place of their own kind alone.

    Arguments as for `save_drawing`; with `overwrite` whatever files are there are replaced.
    """

    def own(path: Path) -> AbstractContextManager[Path]:
        return replacing(path, FIGURE if path == output else NUMBERS, overwrite=overwrite)

    return list(save_drawing(drawing, output, dpi=dpi, title=title, replacing=own))


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
