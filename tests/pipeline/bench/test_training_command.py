"""`pipeline bench train`: what it measures on, what it prints, and what it refuses."""

import pytest
import torch

from pipeline.backbone.batches import plan_passes
from pipeline.backbone.execution import Execution
from pipeline.bench.settings import TrainSettings
from pipeline.bench.training import PARTS
from pipeline.cli.bench.training import (
    TrainRequest,
    bare_step,
    first_batch,
    training_loop,
    training_plan,
)

CPU = torch.device("cpu")
SMALL = ("--samples", 90, "--classes", 3, "--image-size", 8, "--backbone", "resnet8")
SHORT = ("--batch-size", 20, "--steps", 5, "--repeat", 1, "--device", "cpu")


def train_document(run, *options):
    done = run("bench", "train", *options, "--json")
    assert done.code == 0, done.err
    assert done.out.count("\n") == 1
    assert list(done.document)[:3] == ["schema_version", "command", "what"]
    return done.document


def request_of(**options):
    defaults = {
        "dataset": None,
        "data_root": None,
        "imbalance_ratio": None,
        "samples": 90,
        "classes": 3,
        "image_size": 8,
        "backbone": "resnet8",
        "augmentation": "crop-flip",
        "device": "cpu",
        "batch_size": 20,
        "precision": "float32",
        "channels_last": True,
        "compile": False,
        "workers": None,
    }
    return TrainRequest(**{**defaults, **options})


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_train_on_synthetic_images(run, tmp_path, precision):
    options = ("--augmentation", "crop", "--precision", precision, "--folder", tmp_path)
    document = train_document(run, *SMALL, *SHORT, *options)
    assert document["problem"] == {
        "dataset": "synthetic",
        "images": 90,
        "image_size": [3, 8, 8],
        "classes": 3,
        "backbone": "resnet8",
        "batch_size": 20,
        "augmentation": "crop",
        "precision": precision,
        "channels_last": True,
        "compile": False,
        "steps": 5,
        "seed": 0,
    }
    training = document["training"]
    # Five steps deal out all 90 images of the one epoch; bare steps repeat its first batch, of 18.
    assert (training["ours"]["amount"], training["bare"]["amount"]) == (90, 5 * 18)
    ratio = training["bare"]["seconds"] / training["ours"]["seconds"]
    assert training["ours_to_bare"]["best"] == pytest.approx(ratio)
    assert list(training["parts"]) == list(PARTS)
    assert list(training["shares"]) == [*PARTS, "rest"]
    assert sum(training["shares"].values()) == pytest.approx(1)
    assert list(tmp_path.iterdir()) == []


def test_train_on_a_dataset_with_its_defaults(run):
    document = train_document(run, "--dataset", "digits-lt", *SHORT[2:])
    problem = document["problem"]
    assert (problem["dataset"], problem["backbone"], problem["classes"]) == (
        "digits-lt",
        "resnet8",
        10,
    )


def test_train_takes_a_network_of_a_library(run):
    options = ("--image-size", 32, "--backbone", "torchvision:shufflenet_v2_x0_5")
    document = train_document(
        run, *SMALL[:4], *options, "--batch-size", 4, "--steps", 1, "--repeat", 1, "--device", "cpu"
    )
    assert document["problem"]["backbone"] == "torchvision:shufflenet_v2_x0_5"


def test_ours_is_the_training_that_train_does(tmp_path):
    """What is timed leaves the weights of a run by the same plan; the bare step has its batch."""
    plan = training_plan(request_of(), TrainSettings(steps=3))
    batch = first_batch(plan, device=CPU)
    path = tmp_path / "network.pt"
    loop = training_loop(plan, Execution(), batch, checkpoint=path, device=CPU)
    first, again = loop.train(), loop.train()
    assert (first.resumed_from, again.resumed_from) == (0, 0)
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    (epoch,) = plan_passes(plan.recipe, num_samples=90, seed=plan.seed)
    assert loop.num_images == epoch.bounds[-1]
    rows = epoch.rows[: epoch.bounds[1]]
    assert torch.equal(batch[1], plan.dataset.train.labels[rows])


@pytest.mark.parametrize("channels_last", [True, False])
def test_bare_steps_have_the_memory_layout_of_training(channels_last):
    plan = training_plan(request_of(channels_last=channels_last), TrainSettings(steps=1))
    execution = Execution(channels_last=channels_last)
    step = bare_step(plan, execution, first_batch(plan, device=CPU), device=CPU)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert step.images.is_contiguous(memory_format=layout)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dataset", "digits-lt", "--samples", 9), "--samples: synthetic images expected"),
        (("--imbalance-ratio", 9), "--imbalance-ratio: a --dataset beside it expected"),
        ((*SMALL, "--steps", 0), "--steps: at least 1 expected, got 0"),
        ((*SMALL, "--repeat", 0), "--repeat: at least 1 expected, got 0"),
        ((*SMALL, "--augmentation", "resized-crop-flip"), "an augmentation out of"),
    ],
)
def test_train_refuses_what_contradicts_itself(run, options, message):
    done = run("bench", "train", *options)
    assert (done.code, done.out) == (2, "")
    assert message in done.error


def test_the_table_names_what_was_measured(run):
    done = run("bench", "train", *SMALL, *SHORT)
    assert done.code == 0
    for line in ("bare steps", "training / bare", "part of a step", *PARTS, "rest"):
        assert line in done.out
    assert "threads of" in done.err
