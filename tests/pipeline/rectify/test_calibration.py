import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from known_posterior import KnownPosterior
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from marr_pipeline.errors import DataError
from marr_pipeline.rectify.prior import calibration
from marr_pipeline.rectify.prior.calibration import (
    calibrated,
    calibration_rows,
    fit_calibration,
    shares_right,
)
from marr_pipeline.rectify.prior.estimate import target_prior
from marr_pipeline.rectify.prior.target import describe_prior, with_prior
from marr_pipeline.rectify.rectifier import ConfidenceRectifier, HeadRectifier, Rectifier
from marr_pipeline.rectify.rectifier_file import load_rectifier, save_rectifier

WORLD = KnownPosterior(sureness=2.0)
K, D = WORLD.num_classes, WORLD.num_features


def rows(prior, count, seed=0):
    """Logits (N, K) of the network, twice too sure, and labels."""
    features, labels = WORLD.draw(prior, count, seed=seed)
    return WORLD.logits(features), labels


@pytest.fixture
def rectifier():
    """Of a network whose prior is not known."""
    found = Rectifier(
        scale=torch.ones(K).double(),
        shift=torch.linspace(-1, 1, K).double(),
        metadata={"method": "tau-norm"},
    )
    logits, labels = rows(WORLD.targets["uniform"], 4_000)
    known = fit_calibration(found.apply(logits), labels, None, split="tune")
    return replace(found, calibration=known)


@pytest.mark.parametrize("shares", ["uniform", "train", "odd"])
def test_calibrated_probabilities_are_right_under_the_shares_of_the_rows(shares):
    prior = WORLD.targets[shares]
    logits, labels = rows(prior, 20_000)
    known = fit_calibration(logits, labels, WORLD.prior.log(), split="tune")
    assert float(known.scale) == pytest.approx(1 / WORLD.sureness, rel=0.05)
    found = Rectifier(
        scale=torch.ones(K).double(),
        shift=torch.zeros(K).double(),
        calibration=known,
        metadata={"method": "softmax"},
    )
    assert WORLD.divergence(found, prior) > 0.05
    assert WORLD.divergence(calibrated(found), prior) < 0.002
    torch.testing.assert_close(known.log_prior.exp(), prior, atol=0.01, rtol=0)


def test_a_finer_fit_moves_less_than_the_rows_know(monkeypatch):
    logits, labels = rows(WORLD.prior, 3_000)
    rough = fit_calibration(logits, labels, None, split="tune")
    monkeypatch.setattr(calibration, "TOLERANCE", 1e-9)
    fine = fit_calibration(logits, labels, None, split="tune")
    torch.testing.assert_close(rough.scale, fine.scale, rtol=0.01, atol=0)
    torch.testing.assert_close(rough.shift, fine.shift, rtol=0, atol=0.05)


def test_few_rows_stay_near_where_they_were():
    """Separable rows, and a class without any, have no minimum without the ridge."""
    labels = torch.tensor([0, 0, 1, 1, 2])
    logits = 5 * torch.eye(4).double()[labels]
    prior = torch.full((4,), 0.25).double().log()
    known = fit_calibration(logits, labels, prior, split="tune")
    assert 1 < float(known.scale) < 20
    moved = known.shift - (known.log_prior - prior)
    assert float((moved - moved.mean()).abs().max()) < 2
    torch.testing.assert_close(known.log_prior.exp(), torch.tensor([4, 4, 2, 1]).double() / 11)


def test_an_estimate_is_within_its_interval_in_95_of_100_draws():
    """Of logits twice too sure, calibrated on 600 rows, whose error the intervals hold too."""
    shares, draws = WORLD.targets["backward"], 100
    held = {"both": torch.zeros(K), "rows alone": torch.zeros(K)}
    for draw in range(draws):
        logits, labels = rows(WORLD.targets["uniform"], 600, seed=2 * draw)
        known = fit_calibration(logits, labels, WORLD.prior.log(), split="tune")
        here, _ = rows(shares, 2_000, seed=2 * draw + 1)
        here = known.scale * here + known.shift
        for name, num_labelled in (("both", 600), ("rows alone", None)):
            found = target_prior(here, known.log_prior, num_labelled=num_labelled)
            held[name] += (found.low <= shares) & (shares <= found.high)
    assert 0.90 <= float(held["both"].mean()) / draws <= 0.97
    assert float(held["rows alone"].mean()) / draws < 0.89


def test_what_stands_for_no_prior_is_calibrated_before_it_is_moved(rectifier):
    target = WORLD.targets["backward"]
    moved = with_prior(rectifier, target.log())
    assert WORLD.divergence(moved, target) < 0.01
    torch.testing.assert_close(moved.log_prior.exp(), target)
    assert "approximately" not in describe_prior(moved)


@pytest.mark.parametrize("target", ["train", "without one"])
def test_a_move_takes_the_calibration_along(rectifier, target):
    logits, _ = rows(WORLD.prior, 50)
    known = replace(rectifier, log_prior=WORLD.prior.log())
    moved = with_prior(known, WORLD.targets[target].log())
    torch.testing.assert_close(
        calibrated(moved).apply(logits).softmax(1), calibrated(known).apply(logits).softmax(1)
    )


def test_a_whole_head_keeps_its_weights(rectifier):
    head = HeadRectifier(
        **{**vars(rectifier), "metadata": {"method": "head"}},
        weight=torch.ones(K, D).double(),
        bias=torch.zeros(K).double(),
    )
    features, _ = WORLD.draw(WORLD.prior, 5, seed=1)
    known = head.calibration
    expected = known.scale * head.apply(None, features) + known.shift
    torch.testing.assert_close(calibrated(head).apply(None, features), expected)


def test_what_was_not_calibrated_says_why(rectifier):
    with pytest.raises(DataError, match="got one of tau-norm without; fit again with a tune"):
        calibrated(replace(rectifier, calibration=None))
    said = replace(rectifier, calibration=None, metadata={"method": "lws", "uncalibrated": "no"})
    with pytest.raises(DataError, match=r"got one of lws without \(no\); fit again"):
        calibrated(said)
    mixed = ConfidenceRectifier(
        **{**vars(rectifier), "metadata": {"method": "disalign"}},
        confidence_weight=torch.ones(D).double(),
        confidence_bias=torch.ones(1).double(),
    )
    with pytest.raises(DataError, match="whose confidence is another for every sample"):
        calibrated(mixed)


def test_a_few_rows_of_each_class_tell_how_many_are_right():
    labels = torch.repeat_interleave(torch.arange(3), 100)
    is_right = torch.arange(100).repeat(3) < 100 * torch.tensor([0.9, 0.5, 0.1])[labels]
    predicted = torch.where(is_right, labels, (labels + 1) % 3)
    found = shares_right(labels, predicted, torch.tensor([9_800, 100, 100, 0]))
    assert found == pytest.approx((0.98 * 0.9 + 0.01 * 0.6, 0.5))


def test_rows_to_calibrate_on_are_of_all_classes_and_not_too_many(monkeypatch):
    labels = torch.tensor([0] * 1_000 + [1] * 3 + [2] * 40)
    assert len(calibration_rows(labels, 3)) == len(labels)
    monkeypatch.setattr(calibration, "LOGITS", 9 * 20)
    chosen = calibration_rows(labels, 3)
    assert torch.bincount(labels[chosen]).tolist() == [20, 3, 20]
    assert bool((chosen[1:] > chosen[:-1]).all())


def test_a_file_keeps_the_calibration(rectifier, tmp_path):
    save_rectifier(rectifier, tmp_path / "a.safetensors")
    found = load_rectifier(tmp_path / "a.safetensors")
    assert found.metadata == rectifier.metadata
    known = found.calibration
    assert (known.split, known.num_rows, known.is_seen) == ("tune", 4_000, False)
    for name in ("scale", "shift", "log_prior"):
        assert torch.equal(getattr(found.calibration, name), getattr(rectifier.calibration, name))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda tensors, header: tensors.pop("calibration_shift"), "none named calibration_shift"),
        (
            lambda tensors, header: tensors.update(calibration_scale=torch.ones(2).double()),
            r"calibration_scale of shape \(\) expected, got \(2,\)",
        ),
        (lambda tensors, header: header.pop("calibration"), "split and rows of its"),
        (
            lambda tensors, header: header.update(calibration=json.dumps({"split": "tune"})),
            "header: calibration.rows expected, got none of that name; fit again",
        ),
    ],
)
def test_a_damaged_calibration_is_refused(rectifier, tmp_path, damage, message):
    path = tmp_path / "a.safetensors"
    save_rectifier(rectifier, path)
    with safe_open(path, framework="pt") as file:
        header = {key: value for key, value in file.metadata().items() if key != "sha256"}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    damage(tensors, header)
    save_file(tensors, path, header)
    with pytest.raises(DataError, match=message):
        load_rectifier(Path(path))


def test_a_file_that_does_not_say_whether_its_rows_were_seen_is_read(rectifier, tmp_path):
    path = tmp_path / "r.safetensors"
    save_rectifier(rectifier, path)
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        header = {key: value for key, value in file.metadata().items() if key != "sha256"}
    header["calibration"] = '{"split": "train", "rows": 4000}'
    save_file(tensors, path, header)
    assert load_rectifier(path).calibration.is_seen
