"""Every training method by the real command, stopped and resumed, and refused where it is wrong."""

import re
import signal

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from trainings import assert_same_training

from marr_pipeline import names
from marr_pipeline.backbone.checkpoints.checkpoint import load_checkpoint
from marr_pipeline.cache import open_cache
from marr_pipeline.systems import SYSTEMS, recorded_method, training_method
from marr_pipeline.workflows import estimate

DIGITS = ("--dataset", "digits-lt", "--batch-size", 64)
SHORT = (*DIGITS, "--iterations", 6)
COUNTS = np.array([143, 102, 73, 53, 38, 27, 19, 14, 10, 7])  # of digits-lt, largest first
PRIORS = {
    "softmax": lambda n: n,
    "cbs": np.ones_like,
    "sqrt": np.sqrt,
    "cbw": np.ones_like,
    "class-balanced": lambda n: n / (1 - 0.9999**n),
    "balanced-softmax": np.ones_like,
    "lade": np.ones_like,
}
"""Up to a factor; the others are heuristics, which have none."""


@pytest.mark.parametrize("method", names.TRAINING_METHODS)
def test_a_method_writes_a_cache_that_verifies(method, run, tmp_path):
    path = tmp_path / "a.h5"
    made = run("extract", *SHORT, "--method", method, "--views", 1, "-o", path)
    assert made.code == 0, made.err
    assert run("verify", path).code == 0
    cache = open_cache(path)
    head = cache.head
    split = cache.split("test")
    logits = split.features @ head.weight.T + head.bias
    np.testing.assert_allclose(split.logits, logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(head.weight_norm, np.linalg.norm(head.weight, axis=1), rtol=1e-5)
    counts = np.bincount(cache.split("train").labels)
    is_heuristic = method not in PRIORS
    assert (f"warning: {method} is a heuristic" in made.err) == is_heuristic
    assert (head.prior_counts is None) == is_heuristic
    if not is_heuristic:
        expected = PRIORS[method](counts.astype(float))
        ratio = head.prior_counts / expected
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)
    stored = load_checkpoint(tmp_path / "a.pt").record.config.get("method")
    assert recorded_method(stored) == training_method(method, of="digits-lt")
    # The checkpoint alone gives the same network.
    again = tmp_path / "b.h5"
    made = run(
        "extract",
        "--dataset",
        "digits-lt",
        "--checkpoint",
        tmp_path / "a.pt",
        "--views",
        1,
        "-o",
        again,
    )
    assert made.code == 0, made.err
    assert open_cache(again).fingerprint == cache.fingerprint
    assert np.array_equal(open_cache(again).split("test").logits, split.logits)


@pytest.mark.parametrize(
    ("method", "options"),
    [(name, ()) for name in ("seesaw", *SYSTEMS)] + [("hybrid-sc", ("variant=psc", "width=16"))],
)
def test_a_stopped_and_resumed_training_is_the_whole_one(
    method, options, make_plan, train, tmp_path
):
    """In the second epoch of nine steps, with what each method keeps beside weights."""
    plan = make_plan(iterations=12, method=method, method_options=options)
    train(plan, tmp_path / "whole.pt")

    def interrupt(done, total, note=""):
        if done == 10:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(plan, tmp_path / "a.pt", checkpoint_seconds=0.0, progress=interrupt)
    assert load_checkpoint(tmp_path / "a.pt").step == 10
    train(plan, tmp_path / "a.pt")
    assert_same_training(tmp_path / "a.pt", tmp_path / "whole.pt")


def test_oltr_trains_both_stages_and_goes_on_from_a_given_first_one(run, tmp_path):
    path, first = tmp_path / "a.pt", tmp_path / "a.stage1.pt"
    assert run("train", *SHORT, "--method", "oltr", "-o", path).code == 0
    assert "method" not in load_checkpoint(first).record.config
    options = (*SHORT, "--method", "oltr", "--checkpoint", first)
    assert run("train", *options, "-o", tmp_path / "b.pt").code == 0
    ours, theirs = load_checkpoint(path), load_checkpoint(tmp_path / "b.pt")
    torch.testing.assert_close(ours.model, theirs.model, rtol=0, atol=0)
    assert not (tmp_path / "b.stage1.pt").exists()


WRONG = {
    "focal nonsense=1": "one of form=softmax, gamma=2.0, .* expected for focal, got nonsense=1",
    "oltr nonsense=1": "one of starts_as_identity=False, .* expected for oltr",
    "bbn gamma=1": "--method-option: none expected for bbn, got gamma=1",
    "focal gamma": "--method-option: one of .* expected for focal, got gamma;",
    "focal gamma=abc": "--method-option gamma: a number expected, got abc",
    "hybrid-sc width=1.5": "--method-option width: a whole number expected, got 1.5",
    "hybrid-sc variant=x": "--method-option variant: sc or psc expected, got x",
    "hybrid-sc temperature=0": "temperature: 0.001 to 10000.0 expected, got 0;",
    "causal-norm momentum=9": "momentum: 0.0 to 1.0 expected, got 9;",
    "class-balanced beta=2": "beta: 0.0 to 0.999999999 expected, got 2;",
    "ldam scale=0": "scale: 0.001 to 10000.0 expected, got 0;",
    "causal-norm parts=7": "a divisor of the network's 64 features expected, got 7",
}


def test_an_option_is_said_once(run, tmp_path):
    said = ("--method-option", "gamma=1", "--method-option", "gamma=2")
    refused = run("train", *SHORT, "--method", "focal", *said, "-o", tmp_path / "a.pt")
    assert (refused.code, refused.error) == (
        2,
        "error: --method-option gamma: one value expected, got 2; leave one",
    )


@pytest.mark.parametrize("asked", WRONG)
def test_wrong_options_are_refused_before_anything_is_trained(asked, run, tmp_path):
    method, option = asked.split()
    options = ("--method", method, "--method-option", option)
    refused = run("train", *SHORT, *options, "-o", tmp_path / "a.pt")
    assert refused.code == 2
    assert re.search(WRONG[asked], refused.error), refused.error
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def hybrid(make_plan, train, tmp_path_factory):
    """A checkpoint of Hybrid-SC with options of its own."""
    path = tmp_path_factory.mktemp("hybrid") / "a.pt"
    options = ("width=16", "temperature=0.5")
    train(make_plan(iterations=2, method="hybrid-sc", method_options=options), path)
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "bbn"), "--method: hybrid-sc expected, with which .* was trained, got bbn"),
        (("--method", "softmax"), "--method: hybrid-sc expected, .* got softmax"),
        (("--method-option", "width=8"), "width=16 expected, with which .* got width=8"),
    ],
)
def test_a_checkpoint_of_another_method_is_refused(options, message, hybrid, run, tmp_path):
    asked = ("extract", "--dataset", "digits-lt", "--checkpoint", hybrid, "-o", tmp_path / "a.h5")
    refused = run(*asked, *options)
    assert refused.code == 3
    assert re.search(message, refused.error), refused.error


def test_what_a_checkpoint_was_trained_with_may_be_said(hybrid, run, tmp_path):
    asked = ("extract", "--dataset", "digits-lt", "--checkpoint", hybrid, "--views", 1)
    said = ("--method", "hybrid-sc", "--method-option", "width=16", "-o", tmp_path / "a.h5")
    assert run(*asked, *said).code == 0


def test_an_estimate_has_every_stream_and_both_stages(run, monkeypatch, tmp_path):
    def operations(work, device):
        with FlopCounterMode(display=False) as counter:
            work()
        return counter.get_total_flops()

    monkeypatch.setattr(estimate, "_seconds_of", operations)

    def seconds(method):
        options = ("--method", method, "--dry-run", "--json", "-o", tmp_path / "a.pt")
        return run("train", *SHORT, *options).document["seconds"]

    plain = seconds("softmax")
    # Beside the streams there are projections, heads and losses.
    assert seconds("hybrid-sc") == pytest.approx(3 * plain, rel=0.05)
    assert seconds("bbn") == pytest.approx(2 * plain, rel=0.05)
    assert 2 * plain < seconds("oltr") < 3 * plain
