"""MarginRectifier: phase two in scikit-learn's terms, and the same numbers as the command's."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from known_posterior import KnownPosterior
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from marr_pipeline import MarginRectifier, target_prior
from marr_pipeline.cache import open_cache
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.estimator import RectifierWarning
from marr_pipeline.rectify.rectifier_file import load_rectifier
from marr_pipeline.workflows.import_logits import import_logits
from marr_pipeline.workflows.rectify import rectify_cache, resolve_settings

COLUMNS_ARE_CLASSES = "the columns of X are the classes, and this check has 3 classes in 2 columns"
EXPECTED_FAILURES = dict.fromkeys(
    (
        "check_estimators_overwrite_params",
        "check_estimators_fit_returns_self",
        "check_readonly_memmap_input",
        "check_classifiers_classes",
        "check_classifiers_train",
    ),
    COLUMNS_ARE_CLASSES,
)


@parametrize_with_checks(
    [MarginRectifier()], expected_failed_checks=lambda estimator: EXPECTED_FAILURES
)
def test_it_is_an_estimator_of_scikit_learn(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks' own rows are few and separable
        check(estimator)


@pytest.fixture
def rows(rng):
    """Logits (N, 4) of a long-tailed sample whose rare classes are scored too low, and labels."""
    labels = rng.choice(4, size=600, p=[0.6, 0.25, 0.1, 0.05])
    logits = rng.normal(size=(600, 4)) + 1.5 * np.eye(4)[labels] - [0, 0.3, 0.8, 1.5]
    return logits, labels


def test_without_options_it_is_the_command_without_options(digits_cache, digits_rectifier):
    cached = open_cache(digits_cache)
    train = cached.split("train")
    fitted = MarginRectifier().fit(
        train.logits[[view == "augmented" for view in train.views]],
        train.labels,
        weight_norm=cached.head.weight_norm,
        class_counts=cached.class_counts,
    )
    expected = load_rectifier(digits_rectifier)
    torch.testing.assert_close(fitted.rectifier_.scale, expected.scale, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(fitted.rectifier_.shift, expected.shift, rtol=1e-9, atol=1e-9)
    assert fitted.result_.gap_bound <= 1e-6


def test_a_calibration_says_what_it_was_fitted_on(rows):
    fitted = MarginRectifier(method="temperature").fit(*rows)
    assert fitted.rectifier_.metadata["fit_split"] == "train"


def test_rare_classes_gain(rows):
    logits, labels = rows
    before, after = logits.argmax(axis=1), MarginRectifier().fit(logits, labels).predict(logits)
    rare = labels == 3
    assert (after[rare] == 3).mean() > (before[rare] == 3).mean()


ANIMALS = ["cat", "dog", "owl", "yak"]
PER_CLASS = {"class_counts": [360, 150, 60, 30], "weight_norm": [1.0, 1.5, 0.5, 2.0]}
PER_CLASS["prior_counts"] = [0.6, 0.25, 0.1, 0.05]


@pytest.mark.parametrize("names", ["of columns", "of labels", "of columns beside positions"])
@pytest.mark.parametrize("kind", [pd.Series, dict])
def test_numbers_by_name_go_to_the_class_of_that_name(rows, kind, names):
    """Whatever their order is."""
    logits, labels = rows
    X = logits if names == "of labels" else pd.DataFrame(logits, columns=ANIMALS)
    y = labels if names == "of columns beside positions" else np.asarray(ANIMALS)[labels]
    plain = MarginRectifier().fit(logits, labels, **PER_CLASS)
    named = {
        name: kind({label: values[ANIMALS.index(label)] for label in ["yak", "cat", "owl", "dog"]})
        for name, values in PER_CLASS.items()
    }
    fitted = MarginRectifier().fit(X, y, **named)
    torch.testing.assert_close(fitted.rectifier_.scale, plain.rectifier_.scale, rtol=0, atol=0)
    torch.testing.assert_close(fitted.rectifier_.shift, plain.rectifier_.shift, rtol=0, atol=0)


def test_a_prior_may_be_shares(rows):
    """The numbers themselves, however small; only an absent class is given half of the smallest."""
    tau = MarginRectifier("logit-adjustment")
    for prior, expected in (
        ([0.6, 0.25, 0.1, 0.05], [0.6, 0.25, 0.1, 0.05]),
        ([0.5, 0.3, 0.2, 0.0], np.array([0.5, 0.3, 0.2, 0.1]) / 1.1),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an absent class
            shift = tau.fit(*rows, prior_counts=prior).rectifier_.shift
        np.testing.assert_allclose(shift.numpy(), -np.log(expected), rtol=1e-12)


def test_read_only_arrays_are_taken_in_silence(rows):
    logits, labels = rows
    features = logits[:, :2].copy()
    for array in (logits, labels, features):
        array.flags.writeable = False
    torch.set_warn_always(True)  # torch says it once a process
    try:
        assert MarginRectifier().fit(logits, labels).predict(logits).shape == (600,)
        fitted = MarginRectifier("crt").fit(None, labels, features=features)
        assert fitted.predict(features=features).shape == (600,)
    finally:
        torch.set_warn_always(False)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_goes_in_and_float32_comes_out(rows, dtype):
    logits, labels = torch.from_numpy(rows[0]).to(dtype), torch.from_numpy(rows[1])
    fitted = MarginRectifier().fit(logits, labels, weight_norm=torch.ones(4, dtype=dtype))
    expected = MarginRectifier().fit(logits.float(), labels)
    rectified = fitted.transform(logits)
    assert rectified.dtype == torch.float32
    torch.testing.assert_close(rectified, expected.transform(logits.float()), rtol=1e-5, atol=1e-5)


def test_tensors_of_any_layout_and_labels_of_any_precision(rows):
    logits, labels = torch.from_numpy(rows[0]), torch.from_numpy(rows[1])
    expected = MarginRectifier().fit(logits, labels)
    for y in (labels.to(torch.bfloat16), labels.to(torch.uint8)):
        fitted = MarginRectifier().fit(logits.to_sparse(), y)
        assert torch.equal(fitted.rectifier_.scale, expected.rectifier_.scale)
        assert torch.equal(fitted.predict(logits), expected.predict(logits).to(torch.float32))
        assert torch.equal(fitted.transform(logits.to_sparse()), expected.transform(logits))


def test_labels_that_bfloat16_has_rounded_are_refused():
    """It has 8 bits: 257 has become 256 or 258 before we see it."""
    logits, labels = torch.randn(900, 300), torch.arange(900) % 300
    with pytest.raises(DataError, match=r"y: labels as integers .* up to 256, of 300 classes"):
        MarginRectifier("logit-adjustment").fit(logits, labels.to(torch.bfloat16))
    MarginRectifier("logit-adjustment", mute="R08").fit(logits, labels.to(torch.float16))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tensor_gives_a_tensor(rows, dtype):
    logits, labels = torch.from_numpy(rows[0]).to(dtype), torch.from_numpy(rows[1])
    fitted = MarginRectifier().fit(logits, labels)
    rectified = fitted.transform(logits)
    assert rectified.dtype == dtype
    assert torch.equal(fitted.predict(logits), rectified.argmax(dim=1))
    ones = torch.ones(600, dtype=dtype)
    torch.testing.assert_close(fitted.predict_proba(logits).sum(dim=1), ones)


def test_a_data_frame_gives_a_data_frame_and_its_columns_name_the_labels(rows):
    logits, labels = rows
    animals = ["cat", "dog", "owl", "yak"]
    index = [f"image {number}" for number in range(600)]
    frame = pd.DataFrame(logits, columns=animals, index=index)
    fitted = MarginRectifier().fit(frame, np.asarray(animals)[labels])
    assert list(fitted.classes_) == animals
    assert set(fitted.predict(frame)) <= set(animals)
    rectified = fitted.transform(frame)
    assert list(rectified.columns) == animals
    assert list(rectified.index) == index
    plain = MarginRectifier().fit(logits, labels).transform(logits)
    np.testing.assert_allclose(rectified.to_numpy(), plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("names", "classes", "expected"),
    [
        pytest.param([0, 1, 3], None, [0, 1, 2, 3], id="positions, one class absent"),
        pytest.param([5, 7, 9, 12], None, [5, 7, 9, 12], id="as many as columns, sorted"),
        pytest.param(["b", "a", "d", "c"], None, list("abcd"), id="text, sorted"),
        pytest.param(["b", "a"], ["d", "c", "b", "a"], list("dcba"), id="as they are named"),
    ],
)
def test_labels_find_their_columns(rng, names, classes, expected):
    labels = np.asarray(names)[rng.integers(len(names), size=200)]
    column = {label: index for index, label in enumerate(expected)}
    logits = rng.normal(size=(200, 4)) + 3 * np.eye(4)[[column[each] for each in labels.tolist()]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # absent classes
        fitted = MarginRectifier().fit(logits, labels, classes=classes)
    assert list(fitted.classes_) == expected
    assert (fitted.predict(logits) == labels).mean() > 0.7


def test_integer_columns_are_names_before_positions(rows):
    logits, labels = rows
    frame = pd.DataFrame(logits, columns=[3, 2, 1, 0])
    fitted = MarginRectifier().fit(frame, 3 - labels)
    np.testing.assert_array_equal(fitted.classes_, [3, 2, 1, 0])
    expected = MarginRectifier().fit(logits, labels).predict(logits)
    np.testing.assert_array_equal(fitted.predict(frame), 3 - expected)


@pytest.mark.parametrize("shape", [(400,), (400, 1)])
def test_scores_of_a_binary_classifier_are_two_columns(rng, shape):
    labels = (rng.random(400) < 0.1).astype(int)
    scores = rng.normal(size=400) + 2 * labels - 2
    two_columns = np.stack([np.zeros(400), scores], axis=1)
    expected = MarginRectifier().fit(two_columns, labels).predict_proba(two_columns)
    fitted = MarginRectifier().fit(scores.reshape(shape), labels)
    np.testing.assert_array_equal(fitted.predict_proba(scores.reshape(shape)), expected)


def test_several_views_are_rows_of_one_fit(rows):
    logits, labels = rows
    twice = MarginRectifier().fit(np.stack([logits, logits]), labels)
    once = MarginRectifier().fit(logits, labels)
    torch.testing.assert_close(twice.rectifier_.scale, once.rectifier_.scale, atol=1e-3, rtol=0)
    assert twice.n_features_in_ == 4


def test_a_head_takes_features(rows, rng):
    logits, labels = rows
    features = np.eye(4)[labels] + rng.normal(size=(600, 4))
    fitted = MarginRectifier("crt").fit(None, labels, features=features)
    rectified = fitted.transform(None, features=features)
    assert rectified.shape == (600, 4)
    predicted = fitted.predict(features=features)
    assert fitted.score(y=labels, features=features) == (predicted == labels).mean() > 0.4
    with pytest.warns(RectifierWarning, match="X: None expected for crt, which takes features"):
        np.testing.assert_array_equal(fitted.transform(logits, features=features), rectified)
    with pytest.warns(RectifierWarning, match="got logits; they are not used"):
        again = MarginRectifier("crt").fit(logits, labels, features=features)
    np.testing.assert_array_equal(again.transform(None, features=features), rectified)
    with (
        pytest.raises(DataError, match="features: those of every sample expected"),
        pytest.warns(RectifierWarning),
    ):
        fitted.predict(logits)


def test_it_works_in_a_pipeline_and_under_cross_validation(rng):
    labels = rng.choice(["many", "few", "some"], size=300, p=[0.7, 0.1, 0.2])
    features = rng.normal(size=(300, 5))
    features[:, 0] += np.select([labels == "few", labels == "some"], [1.5, 3.0])
    model = LogisticRegression().fit(features, labels)
    rectified = make_pipeline(FunctionTransformer(model.decision_function), MarginRectifier())
    scores = cross_val_score(rectified, features, labels, scoring="balanced_accuracy", cv=3)
    plain = cross_val_score(model, features, labels, scoring="balanced_accuracy", cv=3)
    assert scores.mean() > plain.mean()


def test_a_clone_has_the_parameters_and_no_fit(rows):
    fitted = MarginRectifier("logit-adjustment", tolerance=1e-8).fit(*rows)
    copied = clone(fitted)
    assert copied.get_params() == fitted.get_params()
    assert not hasattr(copied, "rectifier_")


@pytest.mark.parametrize("labels", ["numbers", "text"])
def test_what_is_saved_is_loaded(rows, tmp_path, labels):
    logits, columns = rows
    given = columns if labels == "numbers" else np.asarray(["a", "b", "c", "d"])[columns]
    fitted = MarginRectifier(gamma=0.8, l2=0.1).fit(logits, given)
    fitted.save(tmp_path / "marr.safetensors")
    loaded = MarginRectifier.load(tmp_path / "marr.safetensors")
    np.testing.assert_array_equal(loaded.predict(logits), fitted.predict(logits))
    assert (loaded.gamma, loaded.l2, loaded.method) == (0.8, 0.1, "marr")


@pytest.mark.parametrize("names", [ANIMALS, ["logit 0", "logit 1", "logit 2", "logit 3"]])
def test_a_loaded_one_knows_the_order_of_the_columns(rows, tmp_path, names):
    logits, labels = rows
    frame = pd.DataFrame(logits, columns=names)
    fitted = MarginRectifier().fit(frame, np.asarray(ANIMALS)[labels], classes=ANIMALS)
    fitted.save(tmp_path / "marr.safetensors")
    loaded = MarginRectifier.load(tmp_path / "marr.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(loaded.predict(frame)) == list(fitted.predict(frame))
    with pytest.raises(ValueError, match="order"):
        loaded.predict(frame[names[::-1]])


def test_names_of_classes_in_a_commands_file_are_the_labels(rows, tmp_path):
    logits, labels = rows
    frame = pd.DataFrame(logits, columns=ANIMALS)
    frame.assign(label=np.asarray(ANIMALS)[labels]).to_csv(tmp_path / "a.csv", index=False)
    import_logits({"train": tmp_path / "a.csv"}, tmp_path / "a.h5")
    rectify_cache(tmp_path / "a.h5", output=tmp_path / "a.safetensors")
    loaded = MarginRectifier.load(tmp_path / "a.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(loaded.predict(frame)) == list(loaded.predict(logits))
    assert list(loaded.classes_) == ANIMALS
    with pytest.raises(DataError, match=r"cat, dog, owl, yak, expected, got yak, owl, dog, cat"):
        loaded.predict(frame[ANIMALS[::-1]])


@pytest.mark.parametrize("kind", ["series", "frame"])
def test_scores_that_are_called_the_first_class_are_refused(rng, kind):
    labels = rng.choice(["churn", "stay"], size=400)
    scores = pd.Series(rng.normal(size=400) + 3 * (labels == "stay") - 1.5, name="churn")
    scores = scores.to_frame() if kind == "frame" else scores
    with pytest.raises(DataError, match="scores of the second class, stay, expected, got those of"):
        MarginRectifier().fit(scores, labels)
    fitted = MarginRectifier().fit(scores.to_numpy(), labels)
    with pytest.raises(
        DataError, match="give a column for each class, or the scores of the second"
    ):
        fitted.predict(scores)


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("method", ["marr", "crt"])
def test_folded_it_costs_nothing(rows, rng, method, has_bias):
    _, labels = rows
    features = torch.from_numpy(np.eye(4)[labels] + rng.normal(size=(600, 4))).float()
    linear = torch.nn.Linear(4, 4, bias=has_bias)
    with torch.no_grad():
        logits = linear(features)
    norm = torch.linalg.vector_norm(linear.weight, dim=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a head drawn at random may rank classes the wrong way
        fitted = MarginRectifier(method).fit(logits, labels, weight_norm=norm, features=features)
        expected = fitted.transform(logits, features=features)
    assert fitted.fold_(linear) is linear
    with torch.no_grad():
        torch.testing.assert_close(linear(features), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"y": [0, 1, 2, 4, 5]}, "integers 0..3 or just 4 different", id="labels"),
        pytest.param({"classes": list("abc")}, "4 different labels expected", id="too few classes"),
        pytest.param({"classes": list("abcd")}, "got 0, 1, 2", id="other classes"),
        pytest.param({"weight_norm": [1.0]}, r"weight_norm: shape \(4,\) expected", id="norms"),
        pytest.param({"class_counts": [3, 2]}, r"class_counts: shape \(4,\) expected", id="counts"),
        pytest.param({"X": np.full((5, 4), np.nan)}, "NaN", id="NaN"),
        pytest.param({"X": np.full((5, 4), "1.5")}, "X: numbers expected, got text", id="text"),
        pytest.param({"X": np.full((5, 4), "1", object)}, "X: numbers expected", id="text objects"),
        pytest.param({"X": np.ma.masked_greater(np.eye(5, 4), 0)}, "X: an array wi", id="mask"),
        pytest.param({"y": np.ma.masked_less([0, 1, 2, 3, 3], 1)}, "y: labels wi", id="y's mask"),
        pytest.param({"X": np.full((5, 4), 1e300)}, r"X: numbers up to 1e\+18", id="huge"),
        pytest.param(
            {"weight_norm": [1, 1, 1, -2]}, "weight_norm: finite .* got -2", id="norm < 0"
        ),
        pytest.param({"weight_norm": [1, 1, 1, np.inf]}, "weight_norm: .* got inf", id="norm inf"),
        pytest.param({"class_counts": [9, 9, 9, -1]}, "class_counts: .* >= 0", id="count < 0"),
        pytest.param({"class_counts": [9, 9, 9, np.inf]}, "class_counts: whole", id="count inf"),
        pytest.param({"class_counts": [9, 9, 9, 1e30]}, "class_counts: whole", id="count 1e30"),
        pytest.param({"class_counts": [0.9, 0.1, 0, 0]}, "class_counts: whole", id="count 0.9"),
        pytest.param({"class_counts": [0, 0, 0, 0]}, "class_counts: .* zeros alone", id="no image"),
        pytest.param({"y": [0, 1] * 2 + [0], "class_counts": [0, 0, 5, 5]}, "count 0", id="absent"),
        pytest.param({"X": csr_array(np.eye(5, 4))}, "X: a dense array", id="sparse array"),
        pytest.param({"X": torch.eye(5, 4, device="meta")}, "X: a tensor of numbers", id="no data"),
        pytest.param({"prior_counts": [0, 0, 0, 0]}, "prior_counts: .* zeros alone", id="no prior"),
        pytest.param({"prior_counts": [1, 1, 1, -1]}, "prior_counts: finite", id="prior < 0"),
        pytest.param({"prior_counts": ["1", "1", "1", "1"]}, "prior_counts: numb", id="prior text"),
        pytest.param(
            {"class_counts": pd.Series([4, 3, 2, 1], index=list("abcd"))},
            "class_counts: a number for each of 0, 1, 2, 3 expected, got numbers for a, b, c, d",
            id="names of other classes",
        ),
        pytest.param(
            {"class_counts": {0: 3, 1: 2}}, "got numbers for 0, 1; name", id="a name less"
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(change, message):
    given = {"X": np.arange(20.0).reshape(5, 4), "y": [0, 1, 2, 3, 3], **change}
    with pytest.raises(ValueError, match=message):
        MarginRectifier().fit(given.pop("X"), given.pop("y"), **given)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"l2": -1}, "l2: a number from 0 to 1e\\+12 expected, got -1"),
        ({"l2": 1e308}, "l2: a number from 0 to 1e\\+12 expected, got 1e\\+308"),
        ({"gamma": "1.2"}, "gamma: a finite number expected, got '1.2'"),
        ({"gamma": [1.2]}, r"gamma: a finite number expected, got \[1.2\]"),
        ({"gamma": -1e300}, "gamma: a finite exponent expected"),
        ({"tolerance": "1"}, "tolerance: a number > 0 expected, got '1'"),
        ({"method": "margin"}, "method: one of softmax, .* expected, got margin"),
        ({"preset": "best"}, "preset: one of default, .* expected, got best"),
        ({"optimizer": "adam"}, "optimizer: one of lbfgs, .* expected, got adam"),
        ({"seed": 2**64}, r"seed: a whole number from 0 to 2\^64 - 1 expected, got 184467440737"),
        ({"seed": -1}, "seed: a whole number"),
        ({"seed": 0.5}, "seed: a whole number"),
    ],
)
def test_a_setting_out_of_range_is_a_config_error(rows, settings, message):
    with pytest.raises(ConfigError, match=message):
        MarginRectifier(**settings).fit(*rows)


def test_numbers_of_numpy_are_settings_and_can_be_saved(rows, tmp_path):
    given = {"gamma": np.float32(0.5), "l2": np.float64(2.0), "seed": np.int64(3)}
    MarginRectifier(**given, mute="R10").fit(*rows).save(tmp_path / "a.safetensors")
    loaded = MarginRectifier.load(tmp_path / "a.safetensors")
    assert {name: getattr(loaded, name) for name in given} == given


def test_checks_are_said_and_kept_with_the_result(rows):
    logits, labels = rows
    shuffled = np.random.default_rng(1).permutation(labels)
    with pytest.warns(RectifierWarning, match=r"^R08: Of the rows fitted \S+ % are right"):
        fitted = MarginRectifier("bcts", mute=["R03"]).fit(logits, shuffled)
    assert [one.code for one in fitted.result_.checks] == ["R08"]
    assert MarginRectifier(mute="R03,R05,R08").fit(logits, shuffled).result_.checks == ()
    assert clone(MarginRectifier(mute="R08")).mute == "R08"
    with pytest.raises(ConfigError, match="mute: some of R01 to R17 expected, got 'R99'"):
        MarginRectifier(mute="R99").fit(logits, labels)


@pytest.mark.parametrize("scores", ["probabilities", "log-probabilities"])
def test_probabilities_are_taken_as_import_takes_them(rows, tmp_path, scores):
    logits, labels = rows
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    shares[5] = [1, 0, 0, 0]  # as a forest gives them
    with np.errstate(divide="ignore"):
        given = shares if scores == "probabilities" else np.log(shares)
    with pytest.warns(RectifierWarning, match="3 probabilities in 1 of 600 rows are exactly 0"):
        fitted = MarginRectifier(scores=scores).fit(given, labels)
    np.savez(tmp_path / "rows.npz", logits=given, labels=labels)
    import_logits({"train": tmp_path / "rows.npz"}, tmp_path / "c.h5", scale=scores)
    by_import = rectify_cache(tmp_path / "c.h5").fit.rectifier
    torch.testing.assert_close(fitted.rectifier_.scale, by_import.scale, rtol=1e-6, atol=1e-6)
    fitted.save(tmp_path / "fit.safetensors")
    loaded = MarginRectifier.load(tmp_path / "fit.safetensors")
    alone = loaded.predict_proba(given[5:6])  # a row does not depend on others
    np.testing.assert_allclose(alone, fitted.predict_proba(given)[5:6])


def test_scores_of_a_binary_classifier_may_be_probabilities(rng):
    labels = rng.choice(2, size=400, p=[0.9, 0.1])
    logits = rng.normal(size=400) + 2 * labels - 2
    shares = 1 / (1 + np.exp(-logits))
    fitted = MarginRectifier("bcts", scores="probabilities").fit(shares, labels)
    expected = MarginRectifier("bcts").fit(logits, labels)
    np.testing.assert_allclose(fitted.predict_proba(shares), expected.predict_proba(logits), 1e-3)
    assert fitted.predict(np.array([1.0])) == [1]


def test_probabilities_for_logits_are_told_before_what_follows_of_them(rows):
    logits, labels = rows
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    with pytest.warns(RectifierWarning, match=r"R09: .*scores='probabilities'"):
        found = MarginRectifier().fit(shares, labels).result_.checks
    assert "R03" not in [one.code for one in found]
    with pytest.raises(DataError, match=r"logits expected, got probabilities .* logarithms"):
        target_prior(shares, np.log(np.full(4, 0.25)))


def test_a_target_prior_is_said_as_to_the_commands(rows, tmp_path):
    logits, labels = rows
    fitted = MarginRectifier().fit(logits, np.asarray(ANIMALS)[labels])
    counts = np.bincount(labels)
    turned = dict(zip(ANIMALS, counts[::-1].tolist(), strict=True))
    (tmp_path / "shares.json").write_text(json.dumps(turned))
    expected = fitted.predict_proba(logits, target_prior=turned)
    for said in ("backward", tmp_path / "shares.json", str(tmp_path / "shares.json")):
        np.testing.assert_allclose(fitted.predict_proba(logits, target_prior=said), expected)


def test_only_a_linear_layer_is_folded_into(rows):
    fitted = MarginRectifier().fit(*rows)
    with pytest.raises(DataError, match="fold: a linear layer expected, got Conv2d"):
        fitted.fold_(torch.nn.Conv2d(4, 4, 1))


@pytest.mark.parametrize("method", ["head", "ncm", "gda"])
def test_features_alone_give_what_the_command_gives(digits_cache, method, tmp_path):
    cached = open_cache(digits_cache)
    train = cached.split("train")
    features = train.features[train.clean_view]
    fitted = MarginRectifier(method).fit(None, train.labels, features=features)
    options = resolve_settings(digits_cache, "default", {"method": method, "fit_views": "clean"})
    result = rectify_cache(digits_cache, options, output=tmp_path / "head.safetensors")
    stored = load_rectifier(tmp_path / "head.safetensors")
    for name, tensor in replace(stored, calibration=None).tensors().items():
        torch.testing.assert_close(fitted.rectifier_.tensors()[name], tensor, rtol=0, atol=1e-9)
    assert stored.normalise == fitted.rectifier_.normalise
    assert (result.tuning is None) == (fitted.tuning_ is None) == (method != "head")
    test = cached.split("test")
    rows = torch.from_numpy(test.features[test.clean_view].copy())
    found = fitted.predict(None, features=rows)
    accuracy = (found.numpy() == test.labels).mean()
    assert accuracy == pytest.approx(result.metrics["after"].overall, abs=1e-9)
    assert fitted.predict_proba(None, features=rows).shape == (len(rows), cached.num_classes)
    with pytest.raises(DataError, match="X: logits expected, or None with features"):
        MarginRectifier(method).fit(None, train.labels)


def test_a_head_is_refused_features_that_do_not_fit(rows, rng):
    logits, labels = rows
    features = np.eye(4)[labels] + rng.normal(size=(600, 4))
    fitted = MarginRectifier("ncm").fit(None, labels, features=features)
    with pytest.raises(DataError, match="features: 600 rows expected, as X has, got 10"):
        fitted.predict(logits, features=features[:10])
    for use in (
        lambda given: fitted.predict(None, features=given),
        lambda given: fitted.fit(None, labels, features=given),
    ):
        with pytest.raises(DataError, match=r"features: shape \(N, D\) .* got \(600,\)"):
            use(features[:, 0])


@pytest.mark.parametrize("kind", ["array", "tensor", "frame"])
def test_sets_come_in_the_kind_of_array_that_x_is(rows, kind):
    logits, labels = rows
    make = {"array": np.asarray, "tensor": torch.from_numpy, "frame": pd.DataFrame}[kind]
    fitted = MarginRectifier().fit(make(logits[:300]), labels[:300])
    with pytest.raises(NotFittedError, match="calibrate_sets has fixed expected, got none"):
        fitted.predict_sets(make(logits))
    fitted.calibrate_sets(make(logits[300:]), labels[300:], coverage=0.8, score="softmax")
    members = fitted.predict_sets(make(logits))
    assert type(members) is type(make(logits))
    plain = np.asarray(members)
    assert plain.dtype == bool
    assert plain[np.arange(300, 600), labels[300:]].mean() > 0.7
    with pytest.raises(DataError, match="y: 300 labels expected, as X has rows, got 299"):
        fitted.calibrate_sets(make(logits[300:]), labels[301:])
    with pytest.warns(RectifierWarning, match="samples that fit has not seen expected, got those"):
        fitted.calibrate_sets(make(logits[100:300]), labels[100:300])
    with pytest.warns(RectifierWarning, match="every set holds all labels"):
        fitted.calibrate_sets(make(logits[300:]), labels[300:], coverage=0.999)


def test_labels_of_features_alone_may_be_text(rows, rng):
    _, labels = rows
    features = 3 * np.eye(4)[labels] + rng.normal(size=(600, 4))
    names = np.asarray(ANIMALS)[labels]
    fitted = MarginRectifier("ncm").fit(None, names, features=features)
    assert fitted.classes_.tolist() == ANIMALS
    assert (fitted.predict(None, features=features) == names).mean() > 0.8


WORLD = KnownPosterior(num_classes=4, sureness=2.0)


def world_rows(prior, count, seed, kind=np.asarray):
    """Logits (N, 4), twice too sure, and labels by name."""
    features, labels = WORLD.draw(prior, count, seed=seed)
    return kind(WORLD.logits(features).numpy()), np.asarray(ANIMALS)[labels]


@pytest.mark.parametrize("kind", ["array", "tensor", "frame"])
@pytest.mark.parametrize("method", ["marr", "softmax", "tau-norm"])
def test_probabilities_move_to_the_shares_that_samples_tell(tmp_path, kind, method):
    make = {"array": np.asarray, "tensor": torch.from_numpy, "frame": pd.DataFrame}[kind]
    here = WORLD.targets["backward"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RectifierWarning)
        fitted = MarginRectifier(method).fit(*world_rows(WORLD.prior, 2_000, 1, make))
    rows, labels = world_rows(here, 2_000, 3, make)
    for use in (
        fitted.estimate_prior,
        lambda rows: fitted.predict_proba(rows, target_prior="estimate"),
    ):
        with pytest.raises(DataError, match=f"got one of {method} without; fit again"):
            use(rows)
    assert fitted.calibrate(*world_rows(WORLD.targets["uniform"], 800, 2, make)) is fitted
    found = fitted.estimate_prior(rows)
    np.testing.assert_allclose(found.shares, here, atol=0.05)
    moved = fitted.predict_proba(rows, target_prior="estimate")
    assert type(moved) is type(rows)
    np.testing.assert_allclose(np.asarray(moved).mean(0), found.shares, atol=1e-3)
    before, after = (
        log_loss(labels, np.asarray(each), labels=ANIMALS)
        for each in (fitted.predict_proba(rows), moved)
    )
    assert after < before - 0.1
    fitted.save(tmp_path / "calibrated.safetensors")
    loaded = MarginRectifier.load(tmp_path / "calibrated.safetensors")
    again = loaded.predict_proba(rows, target_prior="estimate")
    np.testing.assert_allclose(np.asarray(again), np.asarray(moved))


def test_a_head_is_calibrated_on_features():
    features, labels = WORLD.draw(WORLD.prior, 1_000, seed=1)
    tuned, tuned_labels = WORLD.draw(WORLD.targets["uniform"], 400, seed=2)
    here, _ = WORLD.draw(WORLD.targets["backward"], 1_000, seed=3)
    fitted = MarginRectifier("ncm", normalise="none").fit(None, labels, features=features)
    with pytest.raises(DataError, match="y: 400 labels expected, as X has rows, got 399"):
        fitted.calibrate(None, tuned_labels[1:], features=tuned)
    fitted.calibrate(None, tuned_labels, features=tuned)
    found = fitted.estimate_prior(features=here)
    np.testing.assert_allclose(found.shares, WORLD.targets["backward"], atol=0.08)
    with pytest.raises(DataError, match="logits, features or both expected, got neither"):
        fitted.estimate_prior()
