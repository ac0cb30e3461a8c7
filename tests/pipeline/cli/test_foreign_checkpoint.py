"""Checkpoints of other programs through the command line: rows, priors, records and refusals."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from marr_pipeline.backbone import build_backbone
from marr_pipeline.backbone.checkpoints.checkpoint import load_checkpoint
from marr_pipeline.cache import open_cache


@pytest.fixture(scope="module")
def theirs(digits_cache, tmp_path_factory):
    """The trained digits network as another program would have saved it."""
    state = load_checkpoint(digits_cache.with_suffix(".pt")).model
    path = tmp_path_factory.mktemp("theirs") / "theirs.pt"
    renamed = {f"module.{name.replace('head.', 'linear.')}": state[name] for name in state}
    torch.save({"state_dict": renamed, "epoch": 60}, path)
    return path


def extract(run, checkpoint, output, *options):
    return run(
        *("extract", "--dataset", "digits-lt", "--views", "1"),
        *("--checkpoint", checkpoint, *options, "-o", output),
    )


def test_its_rows_are_those_of_our_own(run, theirs, digits_cache, tmp_path):
    done = extract(run, theirs, tmp_path / "a.h5", "--json")
    assert done.code == 0, done.err
    ours, read = open_cache(digits_cache), open_cache(tmp_path / "a.h5")
    np.testing.assert_array_equal(read.split("test").logits, ours.split("test").logits)
    np.testing.assert_array_equal(read.split("train").labels, ours.split("train").labels)
    assert read.head_fingerprint == ours.head_fingerprint
    (warning,) = done.document["warnings"]
    assert "theirs.pt: the class counts that it was trained on are not known" in warning
    assert f"warning: {warning}" in done.err


def test_its_origin_is_recorded(run, theirs, tmp_path):
    assert extract(run, theirs, tmp_path / "a.h5").code == 0
    config = open_cache(tmp_path / "a.h5").meta("config")
    assert config["backbone"] == "resnet8"
    assert config["prior_counts"] == "unknown"
    assert config["checkpoint"]["origin"] == "foreign checkpoint"
    assert len(config["checkpoint"]["sha256"]) == 64
    state = {name: v.contiguous() for name, v in torch.load(theirs)["state_dict"].items()}
    save_file(state, tmp_path / "same.safetensors")
    assert extract(run, tmp_path / "same.safetensors", tmp_path / "b.h5").code == 0
    assert open_cache(tmp_path / "b.h5").meta("config") == config
    assert open_cache(tmp_path / "b.h5").fingerprint == open_cache(tmp_path / "a.h5").fingerprint


def test_extraction_has_a_batch_size_of_its_own(run, theirs, tmp_path):
    assert extract(run, theirs, tmp_path / "a.h5").code == 0
    assert extract(run, theirs, tmp_path / "b.h5", "--extract-batch-size", "7").code == 0
    one, other = open_cache(tmp_path / "a.h5"), open_cache(tmp_path / "b.h5")
    np.testing.assert_allclose(one.split("test").logits, other.split("test").logits, atol=1e-4)
    assert other.meta("transforms")["test"]["batch_size"] == 7


def test_of_several_networks_the_choice_is_said(run, theirs, tmp_path):
    state = torch.load(theirs)["state_dict"]
    drawn = {name: value + 0.01 for name, value in state.items()}
    torch.save({"state_dict": drawn, "state_dict_ema": state}, tmp_path / "two.pt")
    done = extract(run, tmp_path / "two.pt", tmp_path / "a.h5", "--prior-counts", "train")
    assert "state_dict_ema is taken and state_dict left; --weights chooses" in done.err
    assert extract(run, theirs, tmp_path / "b.h5", "--prior-counts", "train").code == 0
    one, other = open_cache(tmp_path / "a.h5"), open_cache(tmp_path / "b.h5")
    assert one.fingerprint == other.fingerprint
    chosen = [tmp_path / "two.pt", tmp_path / "c.h5", "--weights"]
    assert extract(run, *chosen, "state_dict").code == 0
    assert open_cache(tmp_path / "c.h5").fingerprint != one.fingerprint
    assert extract(run, *chosen, "averages").code == 2


def test_prior_counts_from_a_file(run, theirs, tmp_path):
    counts = [7, 6, 5, 4, 3, 2.5, 2, 1, 1, 0]
    (tmp_path / "counts.json").write_text(json.dumps(counts))
    done = extract(run, theirs, tmp_path / "a.h5", "--prior-counts", tmp_path / "counts.json")
    assert done.code == 0, done.err
    assert "warning" not in done.err
    cached = open_cache(tmp_path / "a.h5")
    assert cached.head.prior_counts.tolist() == counts
    assert cached.meta("config")["prior_counts"] == "file"


def test_prior_counts_decide_logit_adjustment(run, theirs, digits_cache, tmp_path):
    adjusted = {}
    for said in ("train", "uniform"):
        output = tmp_path / f"{said}.h5"
        assert extract(run, theirs, output, "--prior-counts", said).code == 0
        adjusted[said] = run("evaluate", output, "--json").document["methods"]
    ours = run("evaluate", digits_cache, "--json").document["methods"]
    assert adjusted["train"] == ours
    assert adjusted["uniform"]["logit-adjustment"]["nll"] == pytest.approx(
        ours["softmax"]["nll"], rel=1e-6
    )
    np.testing.assert_array_equal(open_cache(tmp_path / "uniform.h5").head.prior_counts, 48.2)


def test_a_cache_of_other_prior_counts_is_stale(run, theirs, tmp_path):
    output = tmp_path / "a.h5"
    assert extract(run, theirs, output, "--prior-counts", "uniform").code == 0
    assert "already there" in extract(run, theirs, output, "--prior-counts", "uniform").err
    done = extract(run, theirs, output)
    assert done.code == 3
    assert "prior_counts" in done.error


def save(path, *, num_classes=10, drop=()):
    model = build_backbone("resnet8", num_classes, in_channels=1, seed=3)
    state = {name.replace("head.", "fc."): v for name, v in model.state_dict().items()}
    torch.save({name: v for name, v in state.items() if name not in drop}, path)
    return path


def test_a_new_head_is_said_to_be_untrained(run, tmp_path):
    path = save(tmp_path / "seven.pt", num_classes=7)
    done = extract(run, path, tmp_path / "a.h5", "--new-head", "--json")
    assert done.code == 0
    first, second = done.document["warnings"]
    assert "the head is a fresh one" in first
    assert "its logits mean nothing yet; the features do" in first
    assert second.startswith("R08: Of the rows fitted"), second
    assert "which is chance for 10 classes" in second
    assert open_cache(tmp_path / "a.h5").head.weight.shape == (10, 64)


def test_a_head_without_a_bias_is_told(run, tmp_path):
    path = save(tmp_path / "plain.pt", drop=["fc.bias"])
    done = extract(run, path, tmp_path / "a.h5", "--prior-counts", "train")
    assert "warning: " + str(path) + ": its head has no bias; zeros stand for it" in done.err
    assert not open_cache(tmp_path / "a.h5").head.bias.any()


def test_what_does_not_match_is_one_line_and_exit_3(run, tmp_path):
    path = save(tmp_path / "theirs.pt", num_classes=7)
    for options, message, code in (
        ([], "got fc.weight of 7", 3),
        (["--iterations", "5"], "--iterations: a training to come expected", 2),
        (["--batch-size", "5"], "leave the option out, or give --extract-batch-size", 2),
    ):
        done = extract(run, path, tmp_path / "a.h5", *options)
        assert done.code == code
        assert message in done.error
        assert str(path) in done.error
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prior-counts", "none.json"], "train, uniform or a file expected, got none.json"),
        (["--backbone", "torchvision:vg11"], "did you mean vgg11"),
        (["--backbone", "resnet50"], "resnet50: images of 3 channels expected, got 1"),
        (["--pretrained"], "--pretrained: one source of weights expected, got --checkpoint"),
    ],
)
def test_options_that_make_no_sense_are_usage(run, theirs, tmp_path, options, message):
    done = extract(run, theirs, tmp_path / "a.h5", *options)
    assert done.code == 2
    assert message in done.error


@pytest.mark.parametrize("options", [["--new-head"], ["--prior-counts", "train"]])
def test_head_and_counts_are_asked_of_checkpoints_of_others_alone(
    run, digits_cache, tmp_path, options
):
    output = tmp_path / "a.h5"
    without = run("extract", "--dataset", "digits-lt", *options, "-o", output)
    assert without.code == 2
    assert "a --checkpoint beside it expected, got none" in without.error
    ours = extract(run, digits_cache.with_suffix(".pt"), output, *options)
    assert ours.code == 3
    assert f"{options[0]}: a checkpoint of another program expected" in ours.error


def test_dry_run_of_a_foreign_checkpoint_writes_nothing(run, theirs, tmp_path):
    done = extract(run, theirs, tmp_path / "a.h5", "--dry-run", "--json")
    assert done.code == 0
    assert done.document["recipe"] is None
    assert done.document["splits"] == {"train": 482, "test": 400}
    assert "warning" in done.err
    assert list(tmp_path.iterdir()) == []


def test_training_starts_from_a_foreign_checkpoint(run, theirs, tmp_path):
    options = ["--dataset", "digits-lt", "--iterations", "1", "--batch-size", "16"]
    started = ["train", *options, "--checkpoint", theirs, "-o", tmp_path / "a.pt"]
    assert run(*started).code == 0
    assert "already trained" in run(*started).err
    stored = load_checkpoint(tmp_path / "a.pt")
    start = torch.load(theirs)["state_dict"]["module.linear.weight"]
    fresh = build_backbone("resnet8", 10, in_channels=1, seed=0).head.weight
    change = (stored.model["head.weight"] - start).abs().max()
    assert 0 < change < 0.2 * (fresh - start).abs().max()
    done = run("train", *options, "-o", tmp_path / "a.pt")
    assert done.code == 3
    assert "initial " in done.error


def test_pretrained_needs_a_network_that_has_weights(run, tmp_path):
    done = run("train", "--dataset", "digits-lt", "--pretrained", "-o", tmp_path / "a.pt")
    assert done.code == 2
    assert "--pretrained: a network of torchvision expected, got resnet8" in done.error


def test_names_of_another_program_are_told_by_order_when_asked(run, theirs, digits_cache, tmp_path):
    state = torch.load(theirs)["state_dict"]
    strange, layers = {}, {}
    for name, value in state.items():
        layer, _, kind = name.rpartition(".")
        strange[f"{layers.setdefault(layer, f'part{len(layers)}')}.{kind}"] = value
    torch.save(strange, tmp_path / "strange.pt")
    options = ("--backbone", "resnet8", "--prior-counts", "train")
    assert extract(run, tmp_path / "strange.pt", tmp_path / "a.h5", *options).code == 3
    done = extract(run, tmp_path / "strange.pt", tmp_path / "a.h5", *options, "--by-order")
    assert done.code == 0, done.err
    assert "its tensors are taken by their order, in which all shapes agree" in done.err
    ours, read = open_cache(digits_cache), open_cache(tmp_path / "a.h5")
    np.testing.assert_array_equal(read.split("test").logits, ours.split("test").logits)
    done = extract(run, tmp_path / "strange.pt", tmp_path / "b.h5", "--by-order")
    assert done.code == 2
    assert "--by-order: a --backbone beside it expected" in done.error
