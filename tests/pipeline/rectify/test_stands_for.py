"""The prior that each method says it stands for is the one, where the posterior is known."""

import pytest
from known_posterior import KnownPosterior

from marr_pipeline.optim.solvable import FitStatus
from marr_pipeline.rectify.fit import fit_rectifier, preset_settings
from marr_pipeline.rectify.prior.target import describe_prior, with_prior

WORLD = KnownPosterior()
UNIFORM = WORLD.targets["uniform"]
TRAIN = WORLD.inputs(WORLD.prior, 10_000, seed=2)
BALANCED = WORLD.inputs(UNIFORM, 2_000, seed=4)
NONE = {"center": "zero", "l2": 0.0}
EXACT = {"normalise": "none", "l2": 1e-9}


def fitted(method, preset, options, rows=TRAIN):
    split = "train" if rows is TRAIN else "tune"
    settings = preset_settings(preset, method=method, **{"fit_split": split, **options})
    return fit_rectifier(rows, settings).rectifier


# Method, preset, options, and the largest KL that is left under any of the priors: none where
# nothing is fitted, 0.002 of 2K numbers and 0.006 of a head on 10,000 rows, more where a ridge
# pulls.
ON_TRAINING_ROWS = [
    ("softmax", "default", {}, 1e-12),
    ("logit-adjustment", "default", {}, 1e-12),
    ("logit-adjustment", "default", {"tau": 0.4}, 1e-12),
    ("logit-adjustment", "default", {"tau": 1.5}, 1e-12),
    ("temperature", "default", {}, 0.002),
    ("bias", "default", {}, 0.002),
    ("bcts", "default", {}, 0.002),
    ("vector-scaling", "default", {}, 0.003),
    ("vector-scaling", "default", {"gamma": 1.0, "reduction": "weighted"}, 0.002),
    ("bias", "default", {"gamma": 1.2}, 0.002),
    ("marr", "default", NONE, 0.002),
    ("marr", "default", {**NONE, "gamma": 0.5, "reduction": "plain"}, 0.002),
    ("marr", "paper", {}, 0.005),
    ("marr", "official", {"optimizer": "lbfgs"}, 0.002),
    ("marr", "default", {"center": "identity", "l2": 3.0}, 0.13),
    ("marr", "default", {"center": "logit-adjustment"}, 0.001),
    ("marr", "default", {}, 0.04),
    ("crt", "default", {"l2": 1e-9}, 0.006),
    ("balanced-softmax-head", "default", {"l2": 1e-9}, 0.006),
    ("head", "default", EXACT, 0.006),
    ("head", "default", {**EXACT, "tau": 0.0}, 0.006),
    ("head", "default", {**EXACT, "tau": 0.5}, 0.006),
    ("ncm", "default", {"normalise": "none"}, 0.005),
    ("gda", "default", {"normalise": "none"}, 0.005),
]
ON_BALANCED_ROWS = [
    ("bias", "default", {}, 0.002),
    ("bcts", "default", {}, 0.002),
    ("vector-scaling", "default", {}, 0.003),
    ("marr", "default", NONE, 0.006),
    ("marr", "paper", {}, 0.008),
    ("marr", "default", {}, 0.06),
]


def check_moves(rectifier, most):
    """Every move leaves at most so much, and to a prior far from the stated one much less."""
    stated = rectifier.log_prior.exp()
    for name, target in WORLD.targets.items():
        before = WORLD.divergence(rectifier, target)
        after = WORLD.divergence(with_prior(rectifier, target.log()), target)
        assert after <= most, (name, before, after)
        if (stated - target).abs().sum() > 0.5:
            assert after < 0.5 * before, (name, before, after)


@pytest.mark.parametrize(("method", "preset", "options", "most"), ON_TRAINING_ROWS)
def test_moved_from_the_prior_it_states_a_fit_of_training_rows_is_right(
    method, preset, options, most
):
    check_moves(fitted(method, preset, options), most)


@pytest.mark.parametrize(("method", "preset", "options", "most"), ON_BALANCED_ROWS)
def test_a_fit_of_balanced_rows_states_another_prior_and_is_right(method, preset, options, most):
    check_moves(fitted(method, preset, options, BALANCED), most)


@pytest.mark.parametrize(
    ("method", "preset", "options", "rows"),
    [
        ("lws", "default", {}, TRAIN),
        ("lws", "paper", {}, TRAIN),
        ("tau-norm", "default", {}, TRAIN),
        ("disalign", "default", {}, TRAIN),
        ("tde", "default", {}, TRAIN),
        ("temperature", "default", {}, BALANCED),
        ("temperature", "tempered", {}, TRAIN),
    ],
)
def test_where_nothing_says_the_prior_none_is_stated(method, preset, options, rows):
    rectifier = fitted(method, preset, options, rows)
    assert rectifier.log_prior is None
    assert describe_prior(rectifier) == "no class prior"


def test_a_temperature_of_rows_that_may_be_drawn_from_training_states_its_prior():
    few = WORLD.inputs(WORLD.prior, 100, seed=8)
    assert fitted("temperature", "default", {}, few).log_prior is not None


def test_a_fit_without_a_minimum_states_none():
    sure = KnownPosterior(spread=30.0)
    settings = preset_settings("default", method="bcts", fit_split="train")
    fit = fit_rectifier(sure.inputs(sure.prior, 500, seed=3), settings)
    assert fit.status is FitStatus.UNBOUNDED
    assert fit.rectifier.log_prior is None


def test_a_class_without_rows_keeps_a_prior_and_is_told():
    rows = WORLD.inputs(WORLD.targets["without one"], 2_000, seed=4)
    settings = preset_settings("default", method="bias", fit_split="tune")
    fit = fit_rectifier(rows, settings)
    assert any("1 of 6 classes have no row to fit (first: 1)" in said for said in fit.warnings)
    moved = with_prior(fit.rectifier, UNIFORM.log())
    features, _ = WORLD.draw(UNIFORM, 500, seed=5)
    mean = moved.apply(WORLD.logits(features), features).softmax(1).mean(0)
    assert float(mean[1]) < 0.5


WORDS = [
    ("softmax", {}, "the class shares of training"),
    ("logit-adjustment", {}, "the uniform prior"),
    ("marr", {}, "the uniform prior, approximately"),
    ("marr", {"center": "zero"}, "class shares of 1"),
    ("head", EXACT, "the uniform prior"),
    ("bcts", {}, "class shares of"),
]


@pytest.mark.parametrize(("method", "options", "words"), WORDS)
def test_a_prior_is_said_in_words(method, options, words):
    assert describe_prior(fitted(method, "default", options)).startswith(words)
