"""Every numbered check finds what it is for, and is silent on a sound long tail."""

import numpy as np
import pytest

from marr_pipeline.report import checks, rows
from marr_pipeline.report.scores import SampleScores

COUNTS = np.array([1000, 300, 90, 30, 10])
TEST = np.repeat(np.arange(5), 200)


def scored(share_right, labels=None):
    """Samples of which the first part of every class is right."""
    labels = np.repeat(np.arange(5), COUNTS) if labels is None else labels
    generator = np.random.default_rng(0)
    is_right = generator.random(len(labels)) < share_right
    predicted = np.where(is_right, labels, (labels + 1) % 5)
    numbers = np.full(len(labels), 0.5)
    return SampleScores(labels, predicted, numbers, numbers, numbers)


def own_rows(nll, share_right):
    return checks.worse_on_own_rows(nll, scored(share_right), softmax=0.7, num_classes=5)


def test_a_pull_may_make_memorised_rows_less_certain():
    assert own_rows({"a": 0.8}, share_right=0.99) is None
    assert "b by 0.300" in own_rows({"a": 0.8, "b": 1.0}, share_right=0.99).sentence


def probabilities(rng):
    rows = rng.random((20, 5))
    return rows / rows.sum(1, keepdims=True)


VIEWS = [np.arange(6.0).reshape(3, 2), np.ones((3, 2)), np.arange(6.0).reshape(3, 2)]
SHARES = COUNTS / COUNTS.sum()
LABELS = np.repeat(np.arange(5), COUNTS)

FOUND = {
    "R01": lambda rng: checks.absent_classes(np.array([5, 0, 3, 0])),
    "R02": lambda rng: checks.memorised_rows(scored(0.99)),
    "R03": lambda rng: checks.contradicted_prior(np.full(5, 0.2), LABELS, np.ones(5)),
    "R04": lambda rng: checks.unsolved_fits({"a": "converged", "b": "step_limit"}),
    "R05": lambda rng: checks.negative_scales({"a": np.array([1.0, -0.1])}),
    "R06": lambda rng: checks.imbalanced_test(COUNTS, LABELS[::2]),
    "R07": lambda rng: checks.small_groups(COUNTS, np.repeat(np.arange(5), 60)),
    "R08": lambda rng: checks.at_chance(LABELS, rng.integers(5, size=len(LABELS)), 5),
    "R09": lambda rng: rows.probabilities_for_logits(probabilities(rng)),
    "R10": lambda rng: own_rows({"a": 0.6, "b": 0.8}, share_right=0.8),
    "R11": lambda rng: checks.tuned_on_seen_rows(["a"]),
    "R13": lambda rng: rows.copied_views(VIEWS, ("clean", "augmented", "augmented")),
    "R14": lambda rng: rows.shared_rows(VIEWS[0], VIEWS[0][1:], what="logits"),
    "R15": lambda rng: checks.other_order(
        LABELS, np.array([0, 3, 2, 1, 4])[scored(0.95).predicted]
    ),
    "R16": lambda rng: rows.constant_rows(np.vstack([rng.normal(size=(9, 5)), np.zeros(5)])),
    "R17": lambda rng: rows.one_vector(rng.normal(size=(999, 5))[np.maximum(np.arange(999), 25)]),
}
SILENT = {
    "R01": lambda rng: checks.absent_classes(COUNTS),
    "R02": lambda rng: checks.memorised_rows(scored(0.9)),
    "R03": lambda rng: checks.contradicted_prior(SHARES.round(1), LABELS, COUNTS),
    "R04": lambda rng: checks.unsolved_fits({"a": "converged", "b": "closed_form"}),
    "R05": lambda rng: checks.negative_scales({"a": np.array([1.0, 0.0])}),
    "R06": lambda rng: checks.imbalanced_test(COUNTS, TEST),
    "R07": lambda rng: checks.small_groups(COUNTS, TEST),
    "R08": lambda rng: checks.at_chance(LABELS, scored(0.6).predicted, 5),
    "R09": lambda rng: rows.probabilities_for_logits(rng.normal(size=(20, 5))),
    "R10": lambda rng: own_rows({"a": 0.6}, share_right=0.8),
    "R11": lambda rng: checks.tuned_on_seen_rows([]),
    "R13": lambda rng: rows.copied_views(VIEWS[:2], ("clean", "augmented")),
    "R14": lambda rng: rows.shared_rows(np.array([1, 2]), np.array([3, 4]), what="ids"),
    "R15": lambda rng: checks.other_order(LABELS, np.minimum(LABELS, 2)),
    "R16": lambda rng: rows.constant_rows(rng.normal(size=(99, 3))[:, [0, 1, 2, 0]]),
    "R17": lambda rng: rows.one_vector(rng.normal(size=(999, 5))[np.arange(1999) % 999]),
}


@pytest.mark.parametrize("code", FOUND)
def test_a_check_finds_what_it_is_for(code, rng):
    finding = FOUND[code](rng)
    assert finding.code == code
    assert finding.sentence.endswith(".")
    assert finding.remedy.endswith((".", "?"))


@pytest.mark.parametrize("code", SILENT)
def test_a_check_is_silent_on_what_is_sound(code, rng):
    assert SILENT[code](rng) is None


def two(right_of_common, right_of_rare):
    """Labels and predictions of 900 common and 30 rare rows."""
    labels = np.repeat([0, 1], [900, 30])
    is_right = np.r_[np.arange(900) < right_of_common, np.arange(30) < right_of_rare]
    return labels, np.where(is_right, labels, 1 - labels)


def about_two(right_of_common, right_of_rare):
    """Codes of R02 and R08 on them."""
    labels, predicted = two(right_of_common, right_of_rare)
    numbers = np.zeros(930)
    found = (
        checks.memorised_rows(SampleScores(labels, predicted, numbers, numbers, numbers)),
        checks.at_chance(labels, predicted, 2),
    )
    return [one.code for one in found if one is not None]


@pytest.mark.parametrize("right", [(900, 4), (900, 0), (898, 0), (900, 15), (700, 20)])
def test_a_class_with_nearly_all_rows_is_neither_memory_nor_chance(right):
    assert about_two(*right) == []


def test_two_classes_of_a_long_tail_are_judged_within_each():
    assert about_two(899, 29) == ["R02"]
    assert about_two(30, 29) == ["R08"]  # all to the rare class
    assert about_two(450, 15) == ["R08"]  # drawn by lot
    assert about_two(10, 1) == ["R08"]  # the columns exchanged


def test_many_names_are_cut():
    finding = checks.absent_classes(np.zeros(9, dtype=np.int64))
    assert "(0, 1, 2, 3, 4 and 4 more)" in finding.sentence
