"""One step of training: forward, backward and update on one batch, in all its micro-batches.

The loss of a batch is the mean cross-entropy of its B images. Of micro-batch j, process r of P has
b_rj images with the mean loss l_rj. It goes back from P l_rj b_rj / B, and torch's
DistributedDataParallel takes the mean over the processes: the gradient is that of
sum_rj l_rj b_rj / B, the loss of the whole batch, however uneven the parts are.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from marr_pipeline.backbone.checkpoints.record import TrainingPlan
from marr_pipeline.backbone.networks.model import Backbone
from marr_pipeline.backbone.training.execution import Execution
from marr_pipeline.data.normalise import normalise
from marr_pipeline.data.views import Batch
from marr_pipeline.distributed import lost_rank


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
        self.optimizer = torch.optim.SGD(
            model.parameters(),
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
        self._network: Callable[[Tensor], tuple[Tensor, Tensor]] = (
            torch.compile(network) if execution.compile else network
        )

    def __call__(
        self, batches: Sequence[Batch], *, batch_size: int, learning_rate: float
    ) -> Tensor:
        """Update the weights.

        Args:
            batches: this process's micro-batches.
            batch_size: B, of all processes together.
            learning_rate: of this step.

        Returns:
            (2,) on the device: the parts of this process in the mean loss of the B images and in
            the fraction of them that the network classified right.

        Raises:
            LostRankError: another rank has ended.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        readings = []
        with lost_rank():
            for number, (views, labels) in enumerate(batches, start=1):
                share = len(labels) / batch_size
                with self._gradients_kept(is_last=number == len(batches)):
                    logits = self._forward(views)
                    loss = cross_entropy(logits, labels)
                    scaled = self.scaler.scale(loss * (share * self._execution.ranks.size))
                    torch.autograd.backward(scaled)
                hits = (logits.detach().argmax(1) == labels).sum() / batch_size
                readings.append(torch.stack([loss.detach() * share, hits]))
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return torch.stack(readings).sum(0)

    def _forward(self, views: Tensor) -> Tensor:
        """Logits (b, K), at least float32."""
        precision = self._plan.precision
        inputs = normalise(views, self._plan.dataset.normalisation)
        if not self._execution.channels_last:
            inputs = inputs.contiguous()
        with torch.autocast(self._device.type, precision, enabled=precision != torch.float32):
            logits, _ = self._network(inputs)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def _gradients_kept(self, *, is_last: bool) -> AbstractContextManager[None]:
        """Until the last micro-batch, gradients are added up and stay in their process."""
        if self._shared is None or is_last:
            return nullcontext()
        kept: AbstractContextManager[None] = self._shared.no_sync()
        return kept

    def _count_if_skipped(self, optimizer: Any, *arguments: Any) -> None:
        """The scaler tells a fused optimizer by this attribute whether it is to skip the step."""
        self.num_skipped += optimizer.found_inf
