"""Exponential moving averages of a network's weights."""

import copy

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from marr_pipeline.backbone.networks.classifier import Backbone


class AveragedWeights:
    """mean <- d mean + (1 - d) weights after every step, d = min(decay, (1 + t) / (10 + t)).

    Running statistics of batch normalisation are averaged like weights; whole numbers are copied.

    Args:
        model: whose weights it starts from, where they are.
        decay: in (0, 1); 0.999 averages over about a thousand steps.
    """

    def __init__(self, model: Backbone, decay: float) -> None:
        self._model = model
        self._decay = decay
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}
        """State dict of the averages."""

    def update(self, step: int) -> None:
        """Take in the weights that the model has after `step` steps."""
        pairs = [(self.state[name], value) for name, value in self._model.state_dict().items()]
        means = [mean for mean, _ in pairs if mean.is_floating_point()]
        values = [value for mean, value in pairs if mean.is_floating_point()]
        decay = min(self._decay, (1 + step) / (10 + step))
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average(means, values, step)
        for mean, value in pairs:
            if not mean.is_floating_point():
                mean.copy_(value)

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from averages that were kept."""
        for name, mean in self.state.items():
            mean.copy_(state[name])

    def model(self) -> Backbone:
        """A copy of the network with the averages for weights."""
        with torch.no_grad():
            averaged = copy.deepcopy(self._model)
            averaged.load_state_dict(self.state)
        return averaged
