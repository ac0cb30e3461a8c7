"""What the report page advises follows from its numbers."""

import numpy as np
import pytest

from marr_pipeline.report.comparison import Standing
from marr_pipeline.report.tables import Estimate
from marr_pipeline.report.words import Subject, words


def standing(overall, nll, **against):
    """A method; `against` softmax and logit adjustment the difference and whether it is marked."""
    estimates = {
        "overall": Estimate(value=overall),
        "nll": Estimate(value=nll),
        "few": Estimate(value=overall),
        **{
            key: Estimate(value=difference, p_holm=0.01 if is_marked else 0.5)
            for key, (difference, is_marked) in against.items()
        },
    }
    return Standing(
        method="marr",
        status="converged",
        fit_split="train",
        per_class=np.zeros(2),
        estimates=estimates,
    )


def advice(*, adjustment, marr, gains):
    """The first paragraph, of (accuracy, NLL) beside a softmax of 0.7 and 1.0.

    `gains` says which differences are marked: adjustment's and marr's from softmax, theirs.
    """
    standings = {
        "softmax": standing(0.7, 1.0),
        "logit-adjustment": standing(*adjustment, vs_softmax=(adjustment[0] - 0.7, gains[0])),
        "marr": standing(
            *marr,
            vs_softmax=(marr[0] - 0.7, gains[1]),
            vs_logit_adjustment=(marr[0] - adjustment[0], gains[2]),
        ),
    }
    counts = np.array([300, 10])
    about = Subject(dataset="x", class_counts=counts, split="test")
    return words(about, standings, main="marr", findings=[])[0]


@pytest.mark.parametrize(
    ("adjustment", "marr", "gains", "expected"),
    [
        ((0.80, 0.5), (0.79, 0.6), (1, 1, 0), "Use logit adjustment: it fits nothing, is not told"),
        ((0.80, 0.5), (0.80, 0.6), (1, 0, 0), "Use logit adjustment: it fits nothing, is not told"),
        ((0.80, 0.6), (0.81, 0.5), (1, 1, 0), "does as well. marr has the better likelihood"),
        ((0.80, 0.6002), (0.80, 0.6), (1, 1, 0), "accuracy, and has as good a likelihood."),
        ((0.80, 0.6), (0.85, 0.7), (1, 1, 1), "Use marr where all classes matter alike; logit-adj"),
        ((0.80, 0.6), (0.85, 0.5), (1, 1, 1), "Use marr where all classes matter alike."),
        ((0.85, 0.6), (0.80, 0.5), (1, 1, 1), "Use logit adjustment, which fits nothing and is"),
        ((0.71, 0.6), (0.71, 0.5), (0, 0, 0), "changes too little to be told from chance."),
        ((0.60, 0.6), (0.61, 0.5), (1, 1, 0), "Keep the softmax where rows come as these do"),
        ((0.60, 0.6), (0.65, 0.5), (1, 1, 1), "Keep the softmax where rows come as these do"),
        ((0.60, 0.6), (0.55, 0.5), (1, 1, 1), "Keep the softmax where rows come as these do"),
    ],
)
def test_the_advice_follows_from_the_numbers(adjustment, marr, gains, expected):
    assert expected in advice(adjustment=adjustment, marr=marr, gains=gains)
