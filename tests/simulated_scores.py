"""Scores of made-up classifiers whose true metrics are known."""

import numpy as np

from marr_pipeline.report.scores import SampleScores


def simulate_scores(labels, accuracy, generator):
    """Right with the class's accuracy (K,), else any other class; NLL exponential with mean 1.

    Confidence is uniform and says nothing.
    """
    num_samples, num_classes = len(labels), len(accuracy)
    other = (labels + generator.integers(1, num_classes, num_samples)) % num_classes
    is_right = generator.random(num_samples) < accuracy[labels]
    nll = generator.exponential(size=num_samples)
    confidence = generator.random(num_samples)
    return SampleScores(labels, np.where(is_right, labels, other), confidence, nll, -nll)


def true_summaries(accuracy, groups):
    """The metrics of `simulate_scores` on infinitely many samples of balanced classes."""
    num_classes = len(accuracy)
    wrong = (1 - accuracy) / (num_classes - 1)
    predicted = accuracy + wrong.sum() - wrong
    return {
        "overall": accuracy.mean(),
        "balanced": accuracy.mean(),
        **{name: accuracy[members].mean() for name, members in groups.items()},
        "macro_f1": (2 * accuracy / (1 + predicted)).mean(),
        "harmonic_mean": num_classes / (1 / accuracy).sum(),
        "nll": 1.0,
    }


def simulate_calibrated(labels, generator, *, surplus):
    """As right as it is confident, less `surplus`, which is then its calibration error."""
    num_classes = labels.max() + 1
    confidence = generator.uniform(0.3, 1, len(labels))
    is_right = generator.random(len(labels)) < confidence - surplus
    predicted = np.where(is_right, labels, (labels + 1) % num_classes)
    return SampleScores(labels, predicted, confidence, confidence, confidence)
