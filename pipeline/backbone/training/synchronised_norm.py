"""Batch normalisation over a batch that several processes share.

Per channel, process r has m_r values x with mean u_r and variance v_r; m = sum_r m_r. Over all:

    u = sum_r m_r u_r / m        v = sum_r m_r (v_r + (u_r - u)^2) / m
    h = (x - u) / sqrt(v + eps)  y = weight h + bias

With g = dL/dy of the summed loss L of all processes, sums over all processes:

    dL/dx = weight / sqrt(v + eps) (g - sum(g) / m - h sum(g h) / m)

dL/dweight = sum(g h) and dL/dbias = sum(g) are each process's own: they are added with all other
gradients of parameters. torch's SyncBatchNorm is of these formulas too, but for GPUs only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from marr_pipeline.distributed import Ranks
from marr_pipeline.errors import ConfigError

PLAIN_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def check_norms(model: nn.Module) -> None:
    """Refuse a network with a layer that normalises batches in a way of its own.

    Raises:
        ConfigError: names the layer's class.
    """
    for norm in model.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and type(norm) not in PLAIN_NORMS:
            raise ConfigError(
                "torchrun: batch normalisation of torch's own expected in the network, got a layer "
                f"{type(norm).__name__}, whose statistics cannot be those of all processes; give "
                "--no-sync-bn or train in one process"
            )


@contextmanager
def synchronised_norms(model: nn.Module, ranks: Ranks, device: torch.device) -> Iterator[None]:
    """Within the block, every batch normalisation of `model` is over the batches of all ranks.

    The parameters and running statistics stay the very tensors that they are, under their names.

    Args:
        model: one that `check_norms` takes; changed in place until the block ends.
        ranks: the processes; every one of them runs the model in step with the others.
        device: of the model.
    """
    plain = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) in PLAIN_NORMS
    ]
    synced = {norm: _synchronised(norm, ranks, device) for _, _, norm in plain}
    for parent, name, norm in plain:
        setattr(parent, name, synced[norm])
    try:
        yield
    finally:
        for parent, name, norm in plain:
            norm.train(synced[norm].training)
            setattr(parent, name, norm)


def _synchronised(norm: nn.Module, ranks: Ranks, device: torch.device) -> nn.Module:
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)  # type: ignore[no-untyped-call]
        return converted
    return SynchronisedBatchNorm(norm, ranks)


class SynchronisedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """`norm` over the batches of all ranks, with its very parameters and running statistics."""

    def __init__(self, norm: nn.Module, ranks: Ranks) -> None:
        assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
        super().__init__(
            norm.num_features, norm.eps, norm.momentum, affine=False, track_running_stats=False
        )
        self.affine, self.track_running_stats = norm.affine, norm.track_running_stats
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.training = norm.training
        self._ranks = ranks

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions after (N, C) will do."""

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, input: Tensor) -> Tensor:
        """Normalised (N, C, ...); every rank has to call it."""
        if not self.training:
            normalised: Tensor = super().forward(input)
            return normalised
        # Half precision has too few digits for sums over a batch, and torch's kernels know it.
        dtype = torch.promote_types(input.dtype, torch.float32)
        mean, variance, count = _whole_statistics(input.detach().to(dtype), self._ranks)
        if count < 2:
            raise ConfigError(
                "batch normalisation: at least 2 values a channel expected over all processes, "
                f"got {count:.0f}; give a larger --batch-size"
            )
        self._follow(mean, variance * (count / (count - 1)))
        mean, variance = mean.to(dtype), variance.to(dtype)
        found: Tensor = _Normalise.apply(
            input, self.weight, self.bias, mean, variance, self.eps, count, self._ranks
        )
        return found

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as torch's own layers do."""
        if not self.track_running_stats:
            return
        assert self.running_mean is not None and self.running_var is not None  # noqa: PT018
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.mul_(1 - share).add_(mean, alpha=share)
        self.running_var.mul_(1 - share).add_(variance, alpha=share)


def _whole_statistics(x: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor, float]:
    """u (C,), v (C,) in float64 and m of the module's docstring, the same on every rank."""
    count = x.numel() // x.shape[1]
    mean = _channel_sums(x) / max(count, 1)
    variance = _channel_sums((x - _broadcast(mean, x)).square_()) / max(count, 1)
    own = torch.cat([mean.double(), variance.double(), mean.new_tensor([count]).double()])
    every = ranks.gather(own)  # (ranks, 2 C + 1)
    (means, variances), counts = every[:, :-1].chunk(2, dim=1), every[:, -1:]
    whole = float(counts.sum())
    mean = (counts * means).sum(0) / whole
    variance = (counts * (variances + (means - mean) ** 2)).sum(0) / whole
    return mean, variance, whole


class _Normalise(torch.autograd.Function):
    """y of the module's docstring, and its gradient."""

    @staticmethod
    def forward(
        context: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        count: float,
        ranks: Ranks,
    ) -> Tensor:
        context.save_for_backward(x, weight, mean, (variance + eps).rsqrt())
        context.count, context.ranks = count, ranks
        return batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse = context.saved_tensors
        g = gradients[0].to(mean.dtype)
        centred = x - _broadcast(mean, x)
        sum_g, sum_gh = _channel_sums(g), _channel_sums(g * centred) * inverse
        every = context.ranks.gather(torch.stack([sum_g, sum_gh]).double())
        mean_g, mean_gh = (every.sum(0) / context.count).to(g.dtype)
        scale = inverse if weight is None else inverse * weight
        by_mean = centred.mul_(_broadcast(inverse * mean_gh, x)).add_(_broadcast(mean_g, x))
        dx = (g - by_mean).mul_(_broadcast(scale, x)).to(x.dtype)
        if weight is None:
            return dx, *(None,) * 7
        return dx, sum_gh, sum_g, *(None,) * 5


def _channel_sums(x: Tensor) -> Tensor:
    return x.sum([dim for dim in range(x.ndim) if dim != 1])


def _broadcast(values: Tensor, x: Tensor) -> Tensor:
    """Values (C,) against x (N, C, ...)."""
    return values.reshape(1, -1, *(1,) * (x.ndim - 2))
