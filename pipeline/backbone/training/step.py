"""One step of training: forward, backward and update on one batch, in all its micro-batches.

What layers draw in a step, such as dropout, is a function of seed and step, though they draw from
torch's global generators.

The loss of a batch of B images is the mean of its parts' losses, each weighted by its images. Of
micro-batch j, process r of P has b_rj images with the loss l_rj. It goes back from P l_rj b_rj / B,
and torch's DistributedDataParallel takes the mean over the processes: the gradient is that of
sum_rj l_rj b_rj / B, the loss of the whole batch, however uneven the parts are.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torchvision.transforms import v2

from marr_pipeline.backbone.networks.classifier import Backbone
from marr_pipeline.backbone.training.method import Forward
from marr_pipeline.backbone.training.plan import Execution, TrainingPlan
from marr_pipeline.data.normalise import normalise
from marr_pipeline.data.views import Batch
from marr_pipeline.distributed import lost_rank
from marr_pipeline.errors import ConfigError, PipelineError, first_line

DROPOUT_STREAM = 4
"""Last word of the seed; the hold-out has 1, the order of the images 3."""
_PLAIN_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class TrainingStep:
    """Changes the weights of a network by one batch at a time; nothing waits for the device.

    Args:
        model: in training mode on `device`.
        plan: recipe, precision and normalisation.
        device: of the model and the batches.
        execution: memory layout, compilation, and the processes that share every batch.

    Raises:
        LostRankError: another rank has ended.
    """

    def __init__(
        self,
        model: Backbone,
        plan: TrainingPlan,
        *,
        device: torch.device,
        execution: Execution,
    ) -> None:
        recipe = plan.recipe
        groups = [
            {"params": parameters, "rate_factor": factor}
            for parameters, factor in plan.method.rate_factors(model)
        ]
        self.optimizer = torch.optim.SGD(
            groups,
            lr=recipe.learning_rate(0),
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        is_half = plan.precision == torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=is_half)
        self.num_skipped = torch.zeros((), device=device)
        """Steps whose gradients overflowed, on the device."""
        if is_half:
            self.optimizer.register_step_pre_hook(self._count_if_skipped)
            # torch makes these of unset memory, which a skipped first step leaves as it is.
            for parameter in model.parameters():
                self.optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        self._plan = plan
        self._device = device
        self._execution = execution
        self._shared = None
        if execution.ranks.size > 1:
            with lost_rank():
                self._shared = DistributedDataParallel(model)
        network = model if self._shared is None else self._shared
        self._network: Forward = torch.compile(network) if execution.compile else network
        counts = torch.from_numpy(plan.dataset.class_counts).float()
        self._class_counts = counts.to(device)
        self.seen = torch.zeros(len(counts), device=device)
        """(K,) images of each class that this process has trained on, kept if the loss asks."""

    def __call__(
        self,
        batches: Sequence[Batch],
        *,
        step: int,
        batch_size: int,
        learning_rate: float,
    ) -> Tensor:
        """Update the weights.

        Args:
            batches: this process's micro-batches.
            step: how many came before.
            batch_size: B, of all processes together; a method of S streams has S B images.
            learning_rate: of this step.

        Returns:
            (2,) on the device: the parts of this process in the mean loss of the B images and in
            the fraction of them that the network classified right.

        Raises:
            LostRankError: another rank has ended.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group.get("rate_factor", 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        method, progress = self._plan.method, step / self._plan.recipe.iterations
        num_images = batch_size * len(method.streams)
        readings = []
        with lost_rank(), _every_parameter_used():
            for number, (views, labels) in enumerate(batches, start=1):
                share = len(labels) / num_images
                with self._gradients_kept(is_last=number == len(batches)):
                    outputs, share_of_own = self._outputs(views, progress)
                    counts = self._counts_for(labels)
                    loss = method.loss(outputs, labels, class_counts=counts, progress=progress)
                    if share_of_own is not None:
                        others = method.loss(
                            outputs, labels.roll(1), class_counts=counts, progress=progress
                        )
                        loss = share_of_own * loss + (1 - share_of_own) * others
                    scaled = self.scaler.scale(loss * (share * self._execution.ranks.size))
                    torch.autograd.backward(scaled)
                answers = method.answers(labels)
                hits = (outputs[0].detach().argmax(1) == answers).sum() * (share / len(answers))
                readings.append(torch.stack([loss.detach() * share, hits]))
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return torch.stack(readings).sum(0)

    def _outputs(self, views: Tensor, progress: float) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """What the method's loss takes, at least float32, and the share that images have in what
        they were mixed to; None where they were not.
        """
        precision = self._plan.precision
        inputs = normalise(views, self._plan.dataset.normalisation)
        inputs, share = mixed(inputs, self._plan.recipe.mixing)
        if not self._execution.channels_last:
            inputs = inputs.contiguous()
        with torch.autocast(self._device.type, precision, enabled=precision != torch.float32):
            outputs = self._plan.method.outputs(self._network, inputs, progress=progress)
        wide = (each.to(torch.promote_types(each.dtype, torch.float32)) for each in outputs)
        return tuple(wide), share

    def _counts_for(self, labels: Tensor) -> Tensor:
        """(K,) the class counts of a micro-batch's loss."""
        if not self._plan.method.counts_seen:
            return self._class_counts
        self.seen.index_add_(0, labels, torch.ones_like(labels, dtype=self.seen.dtype))
        return self.seen

    def _gradients_kept(self, *, is_last: bool) -> AbstractContextManager[None]:
        """Until the last micro-batch, gradients are added up and stay in their process."""
        if self._shared is None or is_last:
            return nullcontext()
        kept: AbstractContextManager[None] = self._shared.no_sync()
        return kept

    def _count_if_skipped(self, optimizer: Any, *arguments: Any) -> None:
        """The scaler tells a fused optimizer by this attribute whether it is to skip the step."""
        self.num_skipped += optimizer.found_inf


def mixed(images: Tensor, mixing: str) -> tuple[Tensor, Tensor | None]:
    """Every image of a batch mixed with the one before it, as torchvision does.

    Args:
        images: (B, C, H, W), normalised.
        mixing: a name in `MIXINGS`; Zhang et al. (2018) and Yun et al. (2019), shares uniform.

    Returns:
        The images, and the share of each one's own pixels, a scalar; None for `none`.
    """
    if mixing == "none":
        return images, None
    transforms = {"mixup": v2.MixUp, "cutmix": v2.CutMix}
    transform = transforms[mixing](alpha=1.0, num_classes=len(images))
    # With the place of an image for its label, the first target's first entry is its own share.
    blended, targets = transform(images, torch.arange(len(images), device=images.device))
    return blended, targets[0, 0]


@contextmanager
def _every_parameter_used() -> Iterator[None]:
    """Within the block, torch's page on parameters without a gradient becomes one line."""
    try:
        yield
    except RuntimeError as error:
        if "Expected to have finished reduction" not in str(error):
            raise
        raise PipelineError(
            "torchrun: a network of which every parameter takes part in the loss expected, got "
            "one with parameters that get no gradient; train it in one process"
        ) from error


def check_norms(model: nn.Module) -> None:
    """Refuse a network with a layer that normalises batches in a way of its own.

    torch's conversion would drop what such a layer does besides.

    Raises:
        ConfigError: names the layer's class.
    """
    for _, _, norm in _norms(model):
        if type(norm) not in _PLAIN_NORMS:
            raise ConfigError(
                "torchrun: batch normalisation of torch's own expected in the network, got a layer "
                f"{type(norm).__name__}, whose statistics cannot be those of all processes; give "
                "--no-sync-bn or train in one process"
            )


@contextmanager
def synchronised_norms(model: nn.Module) -> Iterator[None]:
    """Within the block, every batch normalisation of `model` is over the batches of all processes.

    By torch's SyncBatchNorm, for which the processes' devices must be GPUs. The parameters and
    running statistics stay the very tensors that they are, under their names.
    """
    plain = _norms(model)
    nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for parent, name, norm in plain:
            norm.train(parent.get_submodule(name).training)
            setattr(parent, name, norm)


def _norms(model: nn.Module) -> list[tuple[nn.Module, str, nn.Module]]:
    """Parent, name in it, and layer of every batch normalisation."""
    return [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.modules.batchnorm._BatchNorm)
    ]


@contextmanager
def borrowed_generators(device: torch.device) -> Iterator[None]:
    """Within the block the global generators may be seeded; afterwards they are as before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def seed_dropout(seed: int, step: int, device: torch.device, *, rank: int = 0) -> None:
    """Make what layers draw in this step, such as dropout, depend on (seed, step, rank) alone.

    A layer draws for its whole batch at once, so every process draws its own, and a run with
    dropout is repeated exactly by the same number of processes only.
    """
    entropy = [seed, step, DROPOUT_STREAM, *([rank] if rank else [])]
    words = np.random.SeedSequence(entropy).generate_state(2)
    mixed = int(words[0]) << 32 | int(words[1])
    # torch.manual_seed speaks to every kind of device, which takes 0.8 ms where there is no GPU.
    torch.default_generator.manual_seed(mixed)
    if device.type == "cuda":
        torch.cuda.manual_seed(mixed)


def check_compiler(device: torch.device) -> None:
    """Translate the smallest program of all, to find out before anything starts.

    Raises:
        ConfigError: there is no working compiler for the device.
    """
    try:
        torch.compile(lambda values: values + 1)(torch.zeros(1, device=device))
    except Exception as error:  # torch's own classes for it are private and change
        raise ConfigError(
            f"--compile: a working compiler for {device.type} expected, got: {first_line(error)}; "
            "install one (g++ for a CPU, triton for a GPU) or leave --compile out"
        ) from error
