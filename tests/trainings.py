"""What the tests of interrupted trainings share: commands, preludes and comparisons."""

import json

import torch

from marr_pipeline.backbone.checkpoints.checkpoint import load_checkpoint
from marr_pipeline.backbone.training.reports import metrics_path

OFTEN = """
import marr_pipeline.backbone.training.train as training
training.train_backbone.__kwdefaults__["checkpoint_seconds"] = 0.0
"""
"""A prelude: every step is saved."""

TOLD = """
import marr_pipeline.backbone.training.reports as reports
reports.REPORT_SECONDS = 0.0
"""
"""A prelude: every step is told, and none is saved but for a reason."""

SLOWLY = """
import time
from marr_pipeline.backbone.training.step import TrainingStep
take_step = TrainingStep.__call__
def slow_step(self, *arguments, **options):
    time.sleep(0.03)
    return take_step(self, *arguments, **options)
TrainingStep.__call__ = slow_step
"""
"""A prelude: every step takes a while, so that there is a middle to hit."""

IN_DOUBLE = """
import marr_pipeline.backbone.training.step as step
from marr_pipeline.backbone.training.plan import TrainingPlan
single, initial = step.normalise, TrainingPlan.initial_model
step.normalise = lambda *arguments: single(*arguments).double()
TrainingPlan.initial_model = lambda plan: initial(plan).double()
"""
"""A prelude: weights and images are float64, so that rounding hides nothing."""

WITHOUT_NORMS = """
import torch
from torch import nn
from marr_pipeline.backbone import BACKBONES
from marr_pipeline.backbone.networks.classifier import build_classifier
LAYERS = [nn.AdaptiveAvgPool2d(4), nn.Flatten()]
def small(num_classes, *, in_channels, seed):
    make = lambda: nn.Sequential(*LAYERS, nn.Linear(16 * in_channels, num_classes))
    return build_classifier("small", make, in_channels=in_channels, seed=seed)
BACKBONES["resnet8"] = small
"""
"""A prelude: a network that normalises nothing."""

WITH_DROPOUT = WITHOUT_NORMS + "LAYERS += [nn.Dropout(0.5)]\n"
"""A prelude: a network that draws in every step."""

WITH_AN_IDLE_LAYER = (
    WITHOUT_NORMS
    + """
class Idle(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
    def forward(self, x):
        return x
LAYERS += [Idle()]
"""
)
"""A prelude: a network with a parameter that has no part in its logits."""


def weights_told(folder, rank):
    """A prelude: after every step the sums of the weights are written down."""
    return f"""
from marr_pipeline.backbone.training.step import TrainingStep
take_step = TrainingStep.__call__
def told(self, *arguments, **options):
    reading = take_step(self, *arguments, **options)
    sums = [float(each.double().sum()) for each in self.optimizer.param_groups[0]["params"]]
    with open("{folder}/rank{rank}", "a") as file:
        print(sums, file=file)
    return reading
TrainingStep.__call__ = told
"""


def unreadable_after(batches):
    """A prelude: after so many batches an image cannot be read."""
    return f"""
from marr_pipeline.data.resident import ResidentSplit
from marr_pipeline.errors import DataError
made = ResidentSplit.batches
def broken(self, *arguments, **options):
    for number, batch in enumerate(made(self, *arguments, **options)):
        if number == {batches}:
            raise DataError("x.png: a readable image expected, got none; replace the file")
        yield batch
ResidentSplit.batches = broken
"""


def train_command(path, *options, iterations=24):
    """The arguments of a short training on the digits in float32, three epochs of eight steps."""
    size = ("--iterations", iterations, "--batch-size", 64, "--precision", "float32")
    return ["train", "--dataset", "digits-lt", *size, *options, "-o", path]


def told_steps(path):
    """How many lines the metrics of a checkpoint have."""
    metrics = metrics_path(path)
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def step_of(path):
    """The step that a checkpoint holds; 0 if there is none."""
    return load_checkpoint(path).step if path.exists() else 0


def metrics_of(path):
    """The entries of a checkpoint's metrics."""
    return [json.loads(line) for line in metrics_path(path).read_text().splitlines()]


def assert_same_training(path, whole):
    """Two finished checkpoints hold the same weights and momenta, bit by bit."""
    ours, theirs = load_checkpoint(path), load_checkpoint(whole)
    assert ours.finished
    assert theirs.finished
    torch.testing.assert_close(ours.model, theirs.model, rtol=0, atol=0)
    torch.testing.assert_close(ours.optimizer, theirs.optimizer, rtol=0, atol=0)
    steps = [entry["step"] for entry in metrics_of(path)]
    assert steps == sorted(steps)
    assert steps[-1] == ours.step
    assert metrics_of(path)[-1]["finished"]
