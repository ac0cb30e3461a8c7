"""One step of training: any split of a batch has its gradient, and no precision loses the run."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from marr_pipeline.backbone import BACKBONES
from marr_pipeline.backbone.checkpoints.checkpoint import load_checkpoint
from marr_pipeline.backbone.networks.classifier import build_classifier
from marr_pipeline.backbone.training import step as training_step
from marr_pipeline.backbone.training.plan import Execution
from marr_pipeline.backbone.training.step import TrainingStep
from marr_pipeline.backbone.training.train import train_backbone
from marr_pipeline.errors import ConfigError
from marr_pipeline.systems import training_method

CPU = torch.device("cpu")


def without_norms(num_classes, *, in_channels, seed):
    """A network of which every image's logits are its own."""

    def make():
        features = [nn.Conv2d(in_channels, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(4)]
        return nn.Sequential(*features, nn.Flatten(), nn.Linear(64, num_classes))

    return build_classifier("own", make, in_channels=in_channels, seed=seed)


def take_step(plan, batches, *, batch_size, rate=0.5):
    model = plan.initial_model().double().train()
    step = TrainingStep(model, plan, device=CPU, execution=Execution())
    reading = step(batches, step=0, batch_size=batch_size, learning_rate=rate)
    return reading, model.state_dict()


@pytest.mark.parametrize("sizes", [[1, 19], [7, 6, 7], [3, 3, 3, 3, 3, 3, 2]])
def test_uneven_micro_batches_have_the_gradient_of_the_whole(sizes, make_plan, monkeypatch):
    monkeypatch.setitem(BACKBONES, "resnet8", without_norms)
    monkeypatch.setattr(training_step, "normalise", lambda views, _: views.double() / 16)
    plan = make_plan()
    images, labels = plan.dataset.train.images[:20], plan.dataset.train.labels[:20]
    reading, whole = take_step(plan, [(images, labels)], batch_size=20)
    parts = list(zip(images.split(sizes), labels.split(sizes), strict=True))
    split_reading, split = take_step(plan, parts, batch_size=20)
    torch.testing.assert_close(split, whole, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(split_reading, reading, rtol=1e-6, atol=0)
    # Half of a batch alone counts half: what is missing is other processes'.
    half, _ = take_step(plan, parts[:1], batch_size=sizes[0] * 2)
    alone, _ = take_step(plan, parts[:1], batch_size=sizes[0])
    torch.testing.assert_close(half, alone / 2)


class NothingAsked(TorchDispatchMode):
    """Within it an operation whose result the host waits for is an error."""

    ASKS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal")

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert not function.__name__.startswith(self.ASKS), function
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", ["softmax", "seesaw", "balanced-softmax", "class-balanced"])
def test_a_device_is_never_asked_for_a_value(make_plan, method):
    """Forward, loss, backward, update: what a CPU is not asked for, a GPU need not wait for.

    In the other losses torch's `one_hot` asks, on a CPU alone, for the largest label.
    """
    plan = dataclasses.replace(make_plan(), method=training_method(method))
    images, labels = plan.dataset.train.images[:20], plan.dataset.train.labels[:20]
    model = plan.initial_model().train()
    step = TrainingStep(model, plan, device=CPU, execution=Execution())
    for number in range(2):
        with NothingAsked():
            step([(images, labels)], step=number, batch_size=20, learning_rate=0.1)
    with pytest.raises(AssertionError), NothingAsked():
        float(labels[0])


def train(plan, path, *, iterations=12, **options):
    recipe = dataclasses.replace(plan.recipe, iterations=iterations)
    return train_backbone(
        dataclasses.replace(plan, recipe=recipe), device=CPU, checkpoint=path, **options
    )


@pytest.fixture
def half_plan(make_plan):
    return dataclasses.replace(make_plan(batch_size=16), precision=torch.float16)


def test_overflowing_gradients_are_skipped_and_counted(half_plan, tmp_path, monkeypatch):
    # 2^20 times a gradient of 0.1 does not fit float16, whose largest number is 65,504.
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(
        torch.amp, "GradScaler", lambda *args, **options: scaler(*args, 2.0**20, **options)
    )
    trained = train(half_plan, tmp_path / "a.pt", iterations=8)
    assert 1 < trained.skipped_steps < 8
    stored = load_checkpoint(tmp_path / "a.pt")
    assert stored.scaler["scale"] == 2.0 ** (20 - trained.skipped_steps)
    assert all(bool(value.isfinite().all()) for value in stored.model.values())


def test_the_memory_layout_changes_rounding_alone(make_plan, tmp_path):
    for name, execution in (
        ("last", Execution()),
        ("first", Execution(channels_last=False)),
    ):
        train(make_plan(), tmp_path / name, iterations=2, execution=execution)
    last, first = load_checkpoint(tmp_path / "last"), load_checkpoint(tmp_path / "first")
    torch.testing.assert_close(first.model, last.model, rtol=1e-3, atol=1e-4)
    assert first.record.config == last.record.config
    assert (first.provenance["memory"], last.provenance["memory"]) == (
        "channels first",
        "channels last",
    )


def test_without_a_compiler_nothing_is_begun(make_plan, tmp_path, monkeypatch):
    def no_compiler(function):
        def run(*arguments):
            raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nand more")

        return run

    monkeypatch.setattr(torch, "compile", no_compiler)
    with pytest.raises(ConfigError, match=r"--compile: a working .* C\+\+ compiler found"):
        train(make_plan(), tmp_path / "a.pt", execution=Execution(compile=True))
    assert list(tmp_path.iterdir()) == []


def test_a_compiled_network_is_the_one_that_is_trained(make_plan, tmp_path, monkeypatch):
    translated = []

    def compiled(network):
        translated.append(network)
        return lambda *arguments: network(*arguments)

    monkeypatch.setattr(torch, "compile", compiled)
    train(make_plan(), tmp_path / "a.pt", iterations=3, execution=Execution(compile=True))
    assert len(translated) == 2  # the trial, and the network
    train(make_plan(), tmp_path / "b.pt", iterations=3)
    one, other = load_checkpoint(tmp_path / "a.pt"), load_checkpoint(tmp_path / "b.pt")
    assert list(one.model) == list(other.model)
    torch.testing.assert_close(one.model, other.model, rtol=0, atol=0)
    assert (one.provenance["compiled"], other.provenance["compiled"]) == ("yes", "no")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_a_step_never_waits_for_the_gpu(precision, make_plan):
    plan, device = dataclasses.replace(make_plan(), precision=precision), torch.device("cuda")
    model = plan.initial_model().to(device).to(memory_format=torch.channels_last).train()
    step = TrainingStep(model, plan, device=device, execution=Execution())
    images = plan.dataset.train.images[:64].to(device)
    labels = plan.dataset.train.labels[:64].to(device)
    for _ in range(3):  # the first steps set up
        step([(images, labels)], step=0, batch_size=64, learning_rate=0.1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        halves = [(images[:32], labels[:32]), (images[32:], labels[32:])]
        step(halves, step=0, batch_size=64, learning_rate=0.1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_says_how_much_memory_it_took(make_plan, tmp_path):
    path = tmp_path / "a.pt"
    train_backbone(make_plan(iterations=3), device=torch.device("cuda"), checkpoint=path)
    assert '"memory_bytes"' in path.with_name("a.pt.metrics.jsonl").read_text()
