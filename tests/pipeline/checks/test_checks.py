"""Every numbered check finds what it is for, and is silent on a sound long tail."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from marr_pipeline import names
from marr_pipeline.checks import classes, fits, rows
from marr_pipeline.checks.own_rows import OwnRows
from marr_pipeline.errors import ConfigError
from marr_pipeline.findings import Finding, heard
from marr_pipeline.rectify.fit import fit_rectifier, preset_settings
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.workflows.checks import differing_runs

COUNTS = np.array([1000, 300, 90, 30, 10])
LABELS = np.repeat(np.arange(5), COUNTS)
EVEN = np.full(5, 200)
IN_ANOTHER_ORDER = np.array([0, 3, 2, 1, 4])


def right_on(share, rng):
    """Predictions of which a share of every class is right."""
    return np.where(rng.random(len(LABELS)) < share, LABELS, (LABELS + 1) % 5)


def inputs_of(logits, labels=LABELS, prior_counts=None):
    counts = torch.from_numpy(np.bincount(labels, minlength=logits.shape[1]))
    return FitInputs(
        logits=torch.from_numpy(logits)[None],
        labels=torch.from_numpy(labels),
        weight_norm=torch.ones(logits.shape[1]).double(),
        class_counts=counts,
        prior_counts=counts.double() if prior_counts is None else torch.from_numpy(prior_counts),
    )


def honest(rng, strength=2.0, counts=COUNTS, labels=LABELS):
    """Logits whose softmax is the posterior: Gaussian classes one unit of noise around their own.

    With x = strength * e_y + noise the log likelihood of class j is strength * x_j and a constant.
    """
    noise = rng.standard_normal((len(labels), len(counts)))
    x = noise + strength * np.eye(len(counts))[labels]
    return strength * x + np.log(counts / counts.sum())


def own(logits, **given):
    return OwnRows.of(inputs_of(logits, **given))


def told(status="converged", scale=(1.0, 1.0), **metadata):
    """A rectifier whose file says so."""
    scale = torch.tensor(scale, dtype=torch.float64)
    said = {"status": status, "gradient_norm": 1e-3, "tolerance": 1e-6, "gamma": 0.0, "loss": 1.0}
    said |= metadata
    return Rectifier(scale=scale, shift=torch.zeros_like(scale), metadata=said)


def loses(scale, logits, **metadata):
    """R10 of a fit with that scale."""
    fitted = {"a": told(scale=[1.0] * 5), "b": told(scale=[scale] * 5, **metadata)}
    return fits.worse_on_own_rows(own(logits), fitted)


def probabilities(rng):
    found = rng.random((20, 5))
    return found / found.sum(1, keepdims=True)


class Run:
    """A cache's records."""

    def __init__(self, name, **config):
        self.path, self.documents = Path(name), {"config": ""}
        self.meta = lambda name: config


VIEWS = [np.arange(6.0).reshape(3, 2), np.ones((3, 2)), np.arange(6.0).reshape(3, 2)]
TWICE = np.random.default_rng(1).standard_normal((30, 5))

FOUND = {
    "R01": lambda rng: classes.absent_classes(np.array([5, 0, 3, 0])),
    "R02": lambda rng: fits.memorised_rows(own(np.eye(5)[right_on(0.99, rng)]), "network"),
    "R03": lambda rng: fits.contradicted_prior(own(honest(rng, 1.0), prior_counts=np.ones(5))),
    "R04": lambda rng: fits.unsolved_fits({"a": told(), "b": told("step_limit")}),
    "R05": lambda rng: fits.negative_scales({"a": told(scale=(1.0, -0.1))}),
    "R06": lambda rng: classes.imbalanced_test(COUNTS, COUNTS / 2),
    "R07": lambda rng: classes.small_groups(COUNTS, np.full(5, 60)),
    "R08": lambda rng: fits.at_chance(LABELS, rng.integers(5, size=len(LABELS)), 5),
    "R09": lambda rng: rows.probabilities_for_logits(torch.from_numpy(probabilities(rng))),
    "R10": lambda rng: loses(0.1, honest(rng)),
    "R11": lambda rng: fits.tuned_on_seen_rows(["a"]),
    "R12": lambda rng: differing_runs([Run("a", seed=0, lr=0.1), Run("b", seed=1, lr=0.2)]),
    "R13": lambda rng: rows.copied_views(VIEWS, ("clean", "augmented", "augmented")),
    "R14": lambda rng: rows.shared_rows(TWICE, TWICE[7:9], what="logits"),
    "R15": lambda rng: fits.other_order(LABELS, IN_ANOTHER_ORDER[right_on(0.95, rng)]),
    "R16": lambda rng: rows.constant_rows(np.vstack([rng.normal(size=(9, 5)), np.zeros(5)])),
    "R17": lambda rng: rows.one_vector(rng.normal(size=(999, 5))[np.maximum(np.arange(999), 25)]),
}
SILENT = {
    "R01": lambda rng: classes.absent_classes(COUNTS),
    "R02": lambda rng: fits.memorised_rows(own(np.eye(5)[right_on(0.9, rng)]), "network"),
    "R03": lambda rng: fits.contradicted_prior(own(honest(rng, 1.0))),
    "R04": lambda rng: fits.unsolved_fits({"a": told(), "b": told("closed_form")}),
    "R05": lambda rng: fits.negative_scales({"a": told(scale=(1.0, 0.0))}),
    "R06": lambda rng: classes.imbalanced_test(COUNTS, EVEN),
    "R07": lambda rng: classes.small_groups(COUNTS, EVEN),
    "R08": lambda rng: fits.at_chance(LABELS, right_on(0.6, rng), 5),
    "R09": lambda rng: rows.probabilities_for_logits(torch.from_numpy(rng.normal(size=(20, 5)))),
    "R10": lambda rng: loses(0.99, honest(rng)),
    "R11": lambda rng: fits.tuned_on_seen_rows([]),
    "R12": lambda rng: differing_runs([Run("a", seed=0, lr=0.1), Run("b", seed=1, lr=0.1)]),
    "R13": lambda rng: rows.copied_views(VIEWS[:2], ("clean", "augmented")),
    "R14": lambda rng: rows.shared_rows(TWICE, TWICE[7:9] + 1e-9, what="logits"),
    "R15": lambda rng: fits.other_order(LABELS, np.minimum(LABELS, 2)),
    "R16": lambda rng: rows.constant_rows(rng.normal(size=(99, 3))[:, [0, 1, 2, 0]]),
    "R17": lambda rng: rows.one_vector(rng.normal(size=(999, 5))[np.arange(1999) % 999]),
}
TREES = np.repeat(np.random.default_rng(0).normal(size=(9, 2)), 99, axis=0)
"""Scores of a binary classifier with nine leaves."""


def test_leaves_of_trees_are_no_repeated_rows():
    assert rows.one_vector(TREES) is None
    assert rows.one_vector(np.repeat(TREES, 2, axis=1)).code == "R17"


def test_every_number_has_its_check():
    assert tuple(FOUND) == tuple(SILENT) == names.CHECKS


@pytest.mark.parametrize("code", FOUND)
def test_a_check_finds_what_it_is_for(code, rng):
    finding = FOUND[code](rng)
    assert finding.code == code
    assert finding.sentence.endswith(".")
    assert finding.remedy.endswith((".", "?"))
    assert str(finding) == f"{code}: {finding.sentence} {finding.remedy}"


@pytest.mark.parametrize("code", SILENT)
def test_a_check_is_silent_on_what_is_sound(code, rng):
    assert SILENT[code](rng) is None


@pytest.mark.parametrize("num_classes", [2, 40, 1000])
def test_a_sound_long_tail_raises_none(num_classes, rng):
    """Honest rows of a network that is right on a part of them, and a fit on these."""
    tail = np.linspace(1, 0, num_classes) ** 8
    counts = np.round(5 + max(50, 4000 / num_classes) * tail).astype(int)
    labels = np.repeat(np.arange(num_classes), counts)
    logits = honest(rng, 3.0, counts, labels)
    inputs = inputs_of(logits, labels)
    fit = fit_rectifier(inputs, preset_settings("default", fit_split="train"))
    found = [*fits.fit_findings({"marr": fit.rectifier})]
    found += fits.own_findings(inputs, {"marr": fit.rectifier})
    found.append(classes.imbalanced_test(counts, np.full(num_classes, 50)))
    assert heard(found) == ()


def test_rows_looked_at_stand_for_all(rng):
    labels = rng.permutation(np.repeat(np.arange(3), [20_000, 400, 1]))
    found = own(np.eye(3)[labels] + rng.normal(size=(len(labels), 3)), labels=labels)
    assert len(found.labels) < 4_096
    np.testing.assert_allclose(found.class_share, np.bincount(labels) / len(labels))
    assert found.share.sum() == pytest.approx(1)


def test_a_pull_may_make_memorised_rows_less_certain(rng):
    """Measured: of 44 fits that were less likely on memorised rows, all were likelier on others."""
    logits = 20 * np.eye(5)[LABELS] + rng.normal(size=(len(LABELS), 5))
    assert loses(0.1, logits).code == "R10"
    pulled = {"b": told(scale=[0.1] * 5)}
    assert [one.code for one in heard(fits.own_findings(inputs_of(logits), pulled))] == ["R02"]


def test_a_tuned_fit_is_not_sent_to_tuning(rng):
    logits = honest(rng)
    assert "--tune auto" in loses(0.1, logits).remedy
    assert "--tune" not in loses(0.1, logits, tuning={"source": "tune"}).remedy


def test_held_out_rows_that_are_right_are_not_memorised(rng):
    inputs = inputs_of(20 * np.eye(5)[LABELS] + rng.normal(size=(len(LABELS), 5)))
    held_out = replace(inputs, rows="held-out")
    pulled = {"b": told(scale=[0.1] * 5)}
    assert [one.code for one in heard(fits.own_findings(held_out, pulled))] == ["R10"]


def two(right_of_common, right_of_rare):
    """Labels and predictions of 900 common and 30 rare rows."""
    labels = np.repeat([0, 1], [900, 30])
    is_right = np.r_[np.arange(900) < right_of_common, np.arange(30) < right_of_rare]
    return labels, np.where(is_right, labels, 1 - labels)


def about_two(right_of_common, right_of_rare):
    """Codes of R02 and R08 on them."""
    labels, predicted = two(right_of_common, right_of_rare)
    found = (
        fits.memorised_rows(own(np.eye(2)[predicted], labels=labels), "network"),
        fits.at_chance(labels, predicted, 2),
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


def test_a_test_split_is_imbalanced_only_if_it_really_is():
    nearly_even = np.array([1000, 1001, 1003])
    assert classes.imbalanced_test(nearly_even, np.array([100.0, 90.0, 120.0])) is None
    assert classes.imbalanced_test(COUNTS, 1 / COUNTS) is None  # turned around
    assert classes.imbalanced_test(np.array([5, 0]), np.array([5.0, 0.0])) is None
    finding = classes.imbalanced_test(COUNTS, COUNTS / 2, {"a": (0.01, 0.02), "b": (-0.2, 0.1)})
    assert "b has -20.0 points overall and +10.0 balanced" in finding.sentence
    assert "--target-prior train" in finding.remedy


def test_rows_in_both_splits_are_told_from_scores_that_come_often(rng):
    few_values = rng.integers(2, size=(500, 6)).astype(np.float32)  # as of a small tree
    assert rows.shared_rows(few_values, few_values[:50], what="logits") is None
    train = rng.standard_normal((2_000, 64)).astype(np.float16)
    test = np.vstack([rng.standard_normal((100, 64)), train[[5, 700]]]).astype(np.float16)
    assert "2 of 102 test rows" in rows.shared_rows(train, test, what="logits").sentence
    assert rows.shared_rows(train[:, :2], test[:, :2], what="logits") is None
    assert "1 of 2" in rows.shared_ids(np.array([b"a", b"b"]), np.array([b"b", b"c"])).sentence


def test_many_names_are_cut():
    assert "(0, 1, 2, 3, 4, ...)" in classes.absent_classes(np.zeros(9, dtype=np.int64)).sentence
    named = classes.absent_classes(np.array([1, 0]), ["cat", "dog"])
    assert "1 of 2 classes have no training sample (dog)" in named.sentence


def test_findings_are_muted_by_number():
    found = [Finding("R06", "b.", "c."), None, Finding("R02", "a.", "d.")]
    assert [one.code for one in heard(found)] == ["R02", "R06"]
    assert [one.code for one in heard(found, ["R02"])] == ["R06"]
    assert heard(found, "R02, R06") == ()
    for mute in ("R99", ["R02", "r06"], "all"):
        with pytest.raises(ConfigError, match="mute: some of R01 to R17 expected, got"):
            heard(found, mute)
