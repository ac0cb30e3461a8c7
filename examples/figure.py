"""A figure of your own: how often each class is predicted, against its training images.

python examples/figure.py predicted.png c10.h5 marr.safetensors
"""

import sys
from pathlib import Path

import numpy as np

from marr_pipeline import evaluate
from marr_pipeline.plots.save import Drawing, save_drawing
from marr_pipeline.plots.style import COLUMN_WIDTH, legend_figure, look, series_mark


def draw_predicted(evaluation):
    """A dot a class and rectifier; the table has the same numbers."""
    counts, labels = evaluation.cached.class_counts, evaluation.rows.labels
    table = {"class": np.arange(len(counts)), "training images": counts}
    for name, rectifier in evaluation.rectifiers.items():
        predicted = evaluation.rows.scores(rectifier).predicted
        table[name] = np.bincount(predicted, minlength=len(counts)) / len(labels)
    marks = {name: series_mark(i) for i, name in enumerate(evaluation.rectifiers)}
    with look():
        figure = legend_figure(COLUMN_WIDTH, 2.2, list(marks.items()))
        axes = figure.subplots()
        for name, mark in marks.items():
            axes.semilogx(counts, 100 * table[name], **mark)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        axes.set_xlabel("training images of the class")
        axes.set_ylabel("predictions (%)")
    return Drawing(figure, table)


if __name__ == "__main__":
    picture, cache, *rectifiers = map(Path, sys.argv[1:])
    save_drawing(draw_predicted(evaluate(cache, rectifiers)), picture)
