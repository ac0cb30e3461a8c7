"""A long-tailed problem to draw, and what a reader of the drawn figure would see."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from marr_pipeline.plots.class_axis import ClassAxis
from marr_pipeline.plots.classwise import ClassScores
from marr_pipeline.plots.curves import ClassCurves
from marr_pipeline.plots.style import look


@dataclass(frozen=True, kw_only=True)
class FigureData:
    axis: ClassAxis
    curves: dict[str, ClassCurves]
    counts: dict[str, np.ndarray]
    scores: dict[str, ClassScores]


def divide(class_counts: np.ndarray) -> dict[str, np.ndarray]:
    many, few = class_counts > 100, class_counts < 20
    return {"many": many, "medium": ~many & ~few, "few": few}


@pytest.fixture
def make_data() -> Callable[..., FigureData]:
    def make(
        num_classes: int,
        *,
        series: tuple[str, ...] = ("softmax", "marr"),
        names: list[str] | None = None,
    ) -> FigureData:
        rng = np.random.default_rng(num_classes)
        class_counts = rng.permutation(np.geomspace(500, 5, num_classes).astype(np.int64))
        curves, counts, scores = {}, {}, {}
        for name in series:
            matrix = rng.multinomial(50, [0.6, 0.3, 0.1], size=num_classes)
            counts[name] = np.zeros((num_classes, num_classes), np.int64)
            for column, offset in zip(matrix.T, (0, 1, 3), strict=True):
                counts[name] += np.roll(np.diag(column), offset, axis=1)
            logits = np.log(class_counts) + rng.normal(size=num_classes)
            curves[name] = ClassCurves(
                mean_logit=logits,
                mean_margin=logits / rng.uniform(0.5, 2.0, num_classes),
                accuracy=np.diagonal(counts[name]) / 50,
                logit_correlation=0.93,
                margin_correlation=-0.5,
            )
            accuracy = curves[name].accuracy
            scores[name] = ClassScores(
                accuracy=accuracy,
                f1=accuracy**2,
                overall=float(accuracy.mean()),
                macro_f1=float((accuracy**2).mean()),
            )
        axis = ClassAxis(class_counts=class_counts, groups=divide(class_counts), class_names=names)
        return FigureData(axis=axis, curves=curves, counts=counts, scores=scores)

    return make


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A drawn figure: its texts with their boxes, and the boxes of its legends, in pixels."""

    figure: Figure
    texts: list[tuple[Text, Bbox]]
    legends: list[tuple[Axes, Bbox]]

    def overlaps(self) -> list[tuple[str, str]]:
        """Pairs of texts that share more than half a point in both directions."""
        slack = 0.5 * self.figure.dpi / 72
        return [
            (first.get_text(), second.get_text())
            for (first, a), (second, b) in combinations(self.texts, 2)
            if min(a.x1, b.x1) - max(a.x0, b.x0) > slack
            and min(a.y1, b.y1) - max(a.y0, b.y0) > slack
        ]

    def cut_off(self) -> list[str]:
        """Texts that reach over the edge of the paper."""
        width, height = self.figure.bbox.size
        return [
            text.get_text()
            for text, box in self.texts
            if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1
        ]

    def faults(self) -> list[object]:
        """What keeps the figure from being read."""
        too_small = [text.get_text() for text, _ in self.texts if text.get_fontsize() < 7]
        return [*self.overlaps(), *self.cut_off(), *too_small]


@pytest.fixture
def see() -> Callable[[Figure], Seen]:
    def draw(figure: Figure) -> Seen:
        with look():
            figure.draw_without_rendering()
        unseen: set[Text] = set()
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                with look():  # where ticks are counted by their letters' size
                    in_range = axis._update_ticks() if axes.axison else []
                labels = {label for tick in in_range for label in (tick.label1, tick.label2)}
                unseen |= set(axis.findobj(Text)) - labels - {axis.label}
        texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
        legends = [(axes, axes.get_legend()) for axes in figure.axes]
        return Seen(
            figure=figure,
            texts=[(t, t.get_window_extent()) for t in texts if t not in unseen],
            legends=[(axes, box.get_window_extent()) for axes, box in legends if box is not None],
        )

    return draw
