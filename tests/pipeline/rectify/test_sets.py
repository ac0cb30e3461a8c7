"""Sets of labels: quantiles by hand, coverage by drawing, and what too few rows come to."""

import math

import numpy as np
import pytest
import torch

from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.names import SET_SCORES
from marr_pipeline.rectify.prior.calibration import fit_calibration
from marr_pipeline.rectify.sets import (
    SetSettings,
    conformal_quantile,
    fit_sets,
    halves,
    strangeness,
    thresholds,
)

K = 10
PRIOR = torch.logspace(0, -2, K, dtype=torch.float64)
PRIOR /= PRIOR.sum()
SEPARATION = 1.5


def draw(num_rows, prior, generator, *, sharpness=2.0):
    """Logits, `sharpness` times those of the true posterior, and labels."""
    labels = torch.multinomial(prior, num_rows, replacement=True, generator=generator)
    rows = torch.randn(num_rows, len(prior), generator=generator, dtype=torch.float64)
    rows[torch.arange(num_rows), labels] += SEPARATION
    return sharpness * (SEPARATION * rows + prior.log()), labels


@pytest.mark.parametrize(
    ("num_rows", "coverage", "place"),
    [(9, 0.9, 9), (10, 0.9, 10), (19, 0.9, 18), (9, 0.7, 7), (1, 0.5, 1), (99, 0.07, 7)],
)
def test_quantile_is_the_score_at_its_place(num_rows, coverage, place, rng):
    scores = rng.permutation(np.arange(1.0, num_rows + 1))
    assert conformal_quantile(torch.from_numpy(scores), coverage) == place


@pytest.mark.parametrize(("num_rows", "coverage"), [(0, 0.5), (8, 0.9), (98, 0.99)])
def test_a_place_beyond_the_last_row_is_no_threshold(num_rows, coverage):
    assert conformal_quantile(torch.zeros(num_rows), coverage) == math.inf
    settings = SetSettings(coverage=coverage)
    assert settings.fewest_rows == num_rows + 1


@pytest.mark.parametrize(("score", "top"), [("softmax", 1.0), ("prevalence", 0.0)])
def test_thresholds_lie_between_those_of_all_rows_and_of_the_class(score, top):
    scores = torch.arange(40, dtype=torch.float64) / 100 - 0.5
    labels = torch.tensor([0] * 20 + [1] * 18 + [2] * 2)

    def found(weight):
        settings = SetSettings(coverage=0.8, score=score, interpolate=weight)
        return thresholds(scores, labels, 4, settings)

    ends = found(0.0), found(1.0)
    assert ends[0].tolist() == [scores[32]] * 4
    assert ends[1].tolist() == [scores[16], scores[35], top, top]
    torch.testing.assert_close(found(0.25), 0.75 * ends[0] + 0.25 * ends[1])


def test_halves_are_disjoint_and_deal_every_row_alike():
    seen = torch.zeros(17)
    for seed in range(400):
        one, other = halves(17, seed=seed)
        assert sorted([*one.tolist(), *other.tolist()]) == list(range(17))
        assert len(one) - len(other) == 1
        seen[one] += 1
    assert (seen / 400 - 9 / 17).abs().max() < 4 * 0.5 / math.sqrt(400)
    assert all(map(torch.equal, halves(17, seed=7), halves(17, seed=7)))


def test_many_classes_and_few_rows_are_covered_too():
    """The calibration must not know more of the rows that make thresholds than of others."""
    generator = torch.Generator().manual_seed(4)
    prior = torch.logspace(0, -2, 60, dtype=torch.float64)
    prior /= prior.sum()
    covered = []
    for seed in range(60):
        rows, labels = draw(300, prior, generator)
        new, truth = draw(1500, prior, generator)
        sets = fit_sets(rows, labels, SetSettings(score="softmax", seed=seed))
        covered.append(sets.members(new).gather(1, truth[:, None]).double().mean())
    noise = math.sqrt(0.9 * 0.1 * (1 / 150 + 1 / 1500) / 60)
    assert 0.9 - 2 * noise < np.mean(covered) < 0.9 + 1 / 150 + 3 * noise


@pytest.mark.parametrize("score", SET_SCORES)
def test_coverage_is_what_was_asked_for(score):
    """Marginally, in the mean of 60 draws; and in every class where each has its own threshold."""
    generator = torch.Generator().manual_seed(0)
    covered = {0.0: [], 1.0: []}
    sizes = {0.0: [], 1.0: []}
    for seed in range(60):
        rows, labels = draw(400, PRIOR, generator)
        new, truth = draw(2000, PRIOR, generator)
        for weight, found in covered.items():
            settings = SetSettings(score=score, interpolate=weight, seed=seed)
            members = fit_sets(rows, labels, settings).members(new)
            is_in = members.gather(1, truth[:, None])[:, 0].double()
            found.append([is_in.mean(), *(is_in[truth == label].mean() for label in range(K))])
            sizes[weight].append(members.sum(1).double().mean())
    means = {weight: torch.tensor(found).nanmean(0) for weight, found in covered.items()}
    noise = 4 * math.sqrt(0.9 * 0.1 * (1 / 200 + 1 / 2000) / 60)
    assert 0.9 - noise < means[0.0][0] < 0.9 + 1 / 200 + noise
    assert means[1.0][1:].min() > 0.9 - 0.02
    assert np.mean(sizes[0.0]) < np.mean(sizes[1.0]) < K


def test_prevalence_covers_rare_classes_and_softmax_is_smaller():
    generator = torch.Generator().manual_seed(1)
    rows, labels = draw(4000, PRIOR, generator)
    new, truth = draw(4000, torch.full((K,), 1 / K, dtype=torch.float64), generator)
    new = new - 2.0 * math.log(1 / K) + 2.0 * PRIOR.log()  # as the same classifier sees them
    found = {}
    for score in SET_SCORES:
        members = fit_sets(rows, labels, SetSettings(score=score)).members(new)
        is_in = members.gather(1, truth[:, None])[:, 0].double()
        found[score] = is_in.mean(), is_in[truth >= K - 3].mean(), members.sum(1).double().mean()
    assert found["prevalence"][0] == pytest.approx(0.9, abs=0.03)  # macro: classes count alike
    assert found["softmax"][0] < 0.8
    assert found["softmax"][1] < 0.6 < 0.85 < found["prevalence"][1]
    assert found["softmax"][2] < found["prevalence"][2]


def test_scores_agree_where_classes_are_equally_common(rng):
    rows = torch.from_numpy(rng.normal(size=(400, 4)))
    fit = fit_calibration(rows, torch.arange(400) % 4, None, split="tune")
    one, other = (strangeness(rows, fit, score) for score in ("softmax", "prevalence"))
    torch.testing.assert_close(one, 1 + other / 4)


def test_a_prior_that_is_known_moves_no_set(rng):
    """p and pi are those of the calibration rows, whatever prior the logits came with.

    But for the ridge of the calibration, where the logits are not sure enough or too sure.
    """
    generator = torch.Generator().manual_seed(2)
    rows, labels = draw(600, PRIOR, generator, sharpness=1.0)
    new, _ = draw(300, PRIOR, generator, sharpness=1.0)
    log_prior = PRIOR.log()
    given = fit_sets(rows, labels, SetSettings(), log_prior=log_prior)
    moved = fit_sets(
        rows - log_prior, labels, SetSettings(), log_prior=torch.full((K,), -math.log(K))
    )
    differ = given.members(new) != moved.members(new - log_prior)
    assert differ.double().mean() < 0.01


@pytest.mark.parametrize("score", SET_SCORES)
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.9, 1.0])
def test_ties_are_covered(score, weight):
    """A classifier that says the same of every row: each set holds the class of each row."""
    labels = torch.arange(60) % 3
    sets = fit_sets(torch.zeros(60, 3), labels, SetSettings(score=score, interpolate=weight))
    assert sets.members(torch.zeros(1, 3)).all()


@pytest.mark.parametrize("score", SET_SCORES)
def test_too_few_rows_give_every_label_and_say_so(score):
    labels = torch.tensor([0, 1, 0, 1, 0, 0])
    rows = 20 * torch.eye(2)[labels]
    sets = fit_sets(rows, labels, SetSettings(score=score, coverage=0.99))
    assert sets.members(rows).all()
    assert "need 99 calibration rows for a threshold, got 3" in sets.warnings()[0]


def test_a_class_without_calibration_rows_is_in_every_set_of_its_own_threshold():
    labels = torch.arange(200) % 2
    rows = 10 * torch.eye(3)[labels]
    for weight, is_in in ((0.0, False), (0.5, False), (1.0, True)):
        sets = fit_sets(rows, labels, SetSettings(score="softmax", interpolate=weight))
        assert bool(sets.members(rows)[:, 2].all()) is is_in
        assert [("1 of 3 classes have fewer" in each) for each in sets.warnings()] == [True] * (
            weight > 0
        )


def test_views_have_sets_of_their_own(rng):
    labels = torch.arange(100) % 4
    sets = fit_sets(torch.from_numpy(rng.normal(size=(100, 4))), labels, SetSettings())
    views = torch.from_numpy(rng.normal(size=(2, 5, 4)))
    members = sets.members(views)
    assert members.shape == (2, 5, 4)
    assert torch.equal(members[1], sets.members(views[1]))


@pytest.mark.parametrize("coverage", [0, 1, 1.5, -0.1, float("nan")])
def test_a_coverage_that_is_none(coverage):
    with pytest.raises(ConfigError, match="a coverage above 0 and below 1 expected"):
        SetSettings(coverage=coverage)


def test_other_settings_that_are_none():
    with pytest.raises(ConfigError, match="a number from 0 to 1 expected"):
        SetSettings(interpolate=1.1)
    with pytest.raises(ConfigError, match="score: one of prevalence, softmax expected, got aps"):
        SetSettings(score="aps")
    with pytest.raises(DataError, match="at least two labelled rows"):
        fit_sets(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), SetSettings())


def test_scores_are_the_papers(rng):
    rows = torch.from_numpy(rng.normal(size=(100, 3)))
    fit = fit_calibration(rows, torch.arange(100) % 3, None, split="tune")
    probability = torch.softmax(fit.scale * rows + fit.shift, 1)
    torch.testing.assert_close(strangeness(rows, fit, "softmax"), 1 - probability)
    torch.testing.assert_close(
        strangeness(rows, fit, "prevalence"), -probability / torch.tensor([0.34, 0.33, 0.33])
    )
