from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from problems import make_inputs, samples_of
from scipy.special import log_softmax

from marr_pipeline import names
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.rectify import tuning as tuning_module
from marr_pipeline.rectify.fit import fit_rectifier, preset_settings
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.rows.folds import stratified_folds
from marr_pipeline.rectify.rows.resources import Resources
from marr_pipeline.rectify.rows.source import FeatureLogits
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.rectify.tuning import TuningOptions, tune
from marr_pipeline.rectify.tuning.choice import GAMMAS, HEAD_L2S, strength_grid, tuning_grid

cross_validate = partial(tune, source="cross-validation")
tune_on_split = partial(tune, source="tune")
SETTINGS = RectifySettings(gamma=1.2, l2=1e-2, center="zero")
RIDGE_FIXED = TuningOptions(fixed=frozenset({"l2"}))
GAMMA_ALONE = TuningOptions(fixed=frozenset({"l2", "center"}))


@pytest.fixture
def inputs():
    """Classes of 116, 60, 31, 16, 8, 4, 2 and 1 samples."""
    return make_inputs(num_classes=8, num_samples=240, ratio=100.0)


def reference_sample_scores(inputs, rectifier, score):
    rectified = inputs.logits.double().numpy() * rectifier.scale.numpy() + rectifier.shift.numpy()
    labels = inputs.labels.numpy()
    if score == "accuracy":
        return (rectified.argmax(2) == labels).mean(0)
    return -log_softmax(rectified, axis=2)[:, np.arange(len(labels)), labels].mean(0)


def class_means(labels, values):
    return np.array([values[labels == label].mean() for label in np.unique(labels)])


def reference_cross_validation(inputs, settings, point, score):
    """labels and scores of the held-out samples, by the whole fit and NumPy."""
    folds = stratified_folds(inputs.labels, num_folds=5, seed=settings.seed)
    labels, values = [], []
    for fold in range(5):
        train = samples_of(inputs, (folds != fold).nonzero()[:, 0])
        counts = torch.bincount(train.labels, minlength=inputs.num_classes)
        fit = fit_rectifier(
            replace(train, class_counts=counts),
            replace(point, optimizer="newton", tolerance=1e-9),
        )
        held_out = samples_of(inputs, (folds == fold).nonzero()[:, 0])
        labels.append(held_out.labels.numpy())
        values.append(reference_sample_scores(held_out, fit.rectifier, score))
    return np.concatenate(labels), np.concatenate(values)


@pytest.mark.parametrize("score", ["nll", "accuracy"])
def test_scores_and_choice_are_those_of_an_independent_recomputation(inputs, score):
    options = replace(RIDGE_FIXED, score=score)
    tuning = cross_validate(inputs, inputs, SETTINGS, options=options)
    held_out = {
        scored.settings: reference_cross_validation(inputs, SETTINGS, scored.settings, score)
        for scored in tuning.grid
    }
    expected = {point: class_means(*found).mean() for point, found in held_out.items()}
    assert len(expected) == len(GAMMAS) * len(names.AFFINE_CENTERS)
    tolerance = {"nll": 2e-3, "accuracy": 1e-9}[score]
    for scored in tuning.grid:
        assert scored.score == pytest.approx(expected[scored.settings], abs=tolerance)
    best = (min if score == "nll" else max)(expected.values())
    assert expected[tuning.best.settings] == pytest.approx(best, abs=tolerance)
    assert (tuning.source, tuning.num_folds) == ("cross-validation", 5)


def test_the_start_keeps_its_place_within_one_standard_error(inputs):
    """Two roads to the rule: the record's own numbers, and a start that is far from the best."""
    near = cross_validate(inputs, inputs, SETTINGS, options=GAMMA_ALONE)
    again = replace(SETTINGS, gamma=near.best.settings.gamma)
    assert (
        cross_validate(inputs, inputs, again, options=GAMMA_ALONE).chosen.settings
        == near.best.settings
    )
    far = cross_validate(inputs, inputs, replace(SETTINGS, gamma=-2.0), options=GAMMA_ALONE)
    assert far.start.score - far.best.score > far.standard_error
    assert far.chosen == far.best
    for tuning in (near, far):
        advantage = tuning.start.score - tuning.best.score
        expected = tuning.best if advantage > tuning.standard_error else tuning.start
        assert tuning.chosen == expected


def test_a_better_point_within_the_noise_is_not_taken():
    """One sample a class and fold: the best of six is ahead, but by less than its own error."""
    inputs = make_inputs(num_classes=3, num_samples=12, ratio=2.0, seed=4)
    tuning = cross_validate(inputs, inputs, SETTINGS, options=GAMMA_ALONE)
    assert 0 < tuning.start.score - tuning.best.score <= tuning.standard_error
    assert tuning.chosen == tuning.start


def test_equal_scores_go_to_the_point_nearest_the_start(inputs):
    """Accuracy on rows that nearly every point gets right: their scores are all 1."""
    labels = inputs.labels
    easy = replace(inputs, logits=20.0 * torch.eye(8)[labels].expand(2, -1, -1))
    options = TuningOptions(score="accuracy", num_folds=2)
    tuning = cross_validate(easy, easy, replace(SETTINGS, center="identity"), options=options)
    tied = [scored for scored in tuning.grid if scored.score == 1.0]
    assert len(tied) > 10
    assert tied[0] != tuning.start
    assert tuning.best == tuning.chosen == tuning.start


def test_views_of_a_sample_are_held_out_together(inputs):
    """A second, equal view changes nothing; were views dealt apart, a twin would be fitted."""
    once = replace(inputs, logits=inputs.logits[:1])
    twice = replace(inputs, logits=inputs.logits[:1].repeat(2, 1, 1))
    one, other = (
        cross_validate(rows, rows, SETTINGS, options=GAMMA_ALONE) for rows in (once, twice)
    )
    for first, second in zip(one.grid, other.grid, strict=True):
        assert first.score == pytest.approx(second.score, abs=1e-4)


def test_a_held_out_split_scores_fits_on_all_rows(inputs):
    held_out = make_inputs(num_classes=8, num_samples=60, num_views=1, seed=5)
    tuning = tune_on_split(inputs, held_out, SETTINGS, options=GAMMA_ALONE)
    assert (tuning.source, tuning.num_folds) == ("tune", None)
    labels = held_out.labels.numpy()
    for scored in tuning.grid:
        fit = fit_rectifier(inputs, replace(scored.settings, tolerance=1e-9))
        values = reference_sample_scores(held_out, fit.rectifier, "nll")
        assert scored.score == pytest.approx(class_means(labels, values).mean(), abs=2e-3)


@pytest.mark.parametrize("fixed", [(), ("gamma",), ("l2", "center"), ("gamma", "l2", "center")])
def test_what_was_given_is_kept_and_the_rest_is_crossed(fixed):
    settings = RectifySettings(gamma=0.7, l2=3e-3, center="identity")
    grid = tuning_grid(settings, fixed=fixed, has_shift=True)
    assert settings in grid
    assert len(set(grid)) == len(grid)
    values = {name: {getattr(point, name) for point in grid} for name in ("gamma", "l2", "center")}
    for name, own in (("gamma", 0.7), ("l2", 3e-3), ("center", "identity")):
        assert (values[name] == {own}) == (name in fixed)
    assert len(grid) == np.prod([len(found) for found in values.values()])


@pytest.mark.parametrize("method", ["softmax", "logit-adjustment"])
def test_a_closed_form_has_nothing_to_tune(inputs, method):
    with pytest.raises(ConfigError, match=f"got {method}, which has nothing to tune"):
        cross_validate(inputs, inputs, replace(SETTINGS, method=method), options=GAMMA_ALONE)


def test_one_image_a_class_cannot_be_cross_validated():
    inputs = FitInputs(
        logits=torch.eye(4)[None],
        labels=torch.arange(4),
        weight_norm=torch.ones(4).double(),
        class_counts=torch.ones(4, dtype=torch.int64),
        prior_counts=torch.ones(4, dtype=torch.int64),
    )
    with pytest.raises(DataError, match="a class with two samples or more expected"):
        cross_validate(inputs, inputs, SETTINGS, options=GAMMA_ALONE)


def test_a_class_that_the_split_lacks_is_unscored_and_harmless(inputs):
    keep = inputs.labels != 2
    lacking = replace(inputs, logits=inputs.logits[:, keep], labels=inputs.labels[keep])
    tuning = cross_validate(lacking, lacking, SETTINGS, options=GAMMA_ALONE)
    sizes = torch.bincount(lacking.labels, minlength=8)
    assert tuning.unscored_classes == int((sizes < 2).sum())


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("score", "recall", "score: nll or accuracy expected, got recall"),
        ("fixed", frozenset({"seed"}), "fixed: names out of gamma, l2, center expected, got seed"),
        ("num_folds", 1, "num_folds: at least 2 expected, got 1"),
    ],
)
def test_options_check_themselves(field, value, message):
    with pytest.raises(ConfigError, match=message):
        TuningOptions(**{field: value})


def test_progress_counts_the_fits(inputs):
    seen = []
    cross_validate(
        inputs,
        inputs,
        SETTINGS,
        options=GAMMA_ALONE,
        progress=lambda done, total, note="": seen.append((done, total)),
    )
    assert seen == [(done, 30) for done in range(1, 31)]


@pytest.mark.parametrize("kind", ["stored", "features"])
def test_a_bound_on_memory_streams_the_same_scores(inputs, kind, monkeypatch):
    """The folds' rows are not copied."""
    if kind == "features":
        generator = torch.Generator().manual_seed(1)
        weight = torch.randn(8, 8, generator=generator)
        inputs = replace(inputs, logits=FeatureLogits(features=inputs.logits, weight=weight))
    whole = cross_validate(inputs, inputs, SETTINGS, options=GAMMA_ALONE)

    def refuse(*_):
        raise AssertionError("copied rows")

    monkeypatch.setattr(tuning_module, "StoredLogits", refuse)
    bound = Resources(memory=2**20)
    tuning = cross_validate(inputs, inputs, SETTINGS, options=GAMMA_ALONE, resources=bound)
    for first, second in zip(whole.grid, tuning.grid, strict=True):
        assert first.score == pytest.approx(second.score, abs=1e-9)
    assert tuning.chosen.settings == whole.chosen.settings


@pytest.mark.parametrize(
    ("options", "fixed", "centers"),
    [
        ({"method": "head"}, (), ["zero", "class-means"]),
        ({"method": "head"}, ("center",), ["zero"]),
        ({"method": "head", "tau": 0.0}, (), ["zero"]),  # the plain probe
        ({"method": "head", "center": "gda"}, (), ["gda"]),
        ({"method": "crt"}, (), ["zero"]),
    ],
)
def test_the_centre_of_a_head_is_tried_with_every_strength(options, fixed, centers):
    settings = preset_settings("default", **options)
    grid = strength_grid(settings, fixed=fixed)
    assert settings in grid
    assert list(dict.fromkeys(point.center for point in grid)) == centers
    for center in centers:
        strengths = [point.l2 for point in grid if point.center == center]
        assert strengths == sorted(HEAD_L2S, reverse=True)
