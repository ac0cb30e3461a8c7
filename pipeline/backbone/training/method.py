"""What phase one trains with: a method's network, the images of its batches, and its loss.

A method of `losses` is a `LossMethod`; those that are whole systems are in `systems`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from marr_pipeline.backbone.networks.classifier import Backbone
from marr_pipeline.backbone.networks.heads import (
    NormalisedHead,
    draw_linear,
    method_generator,
    unit_length,
)
from marr_pipeline.data.dataset import LongTailedDataset
from marr_pipeline.losses import LOSSES
from marr_pipeline.losses.options import Value, parse_options

Forward = Callable[..., tuple[Tensor, ...]]
"""The network, as several processes share it or a compiler has translated it."""


class TrainingMethod(ABC):
    """What is trained, on which images, by which loss; all else is the recipe's."""

    name: ClassVar[str]
    """One of `names.TRAINING_METHODS`."""
    has_first_stage: ClassVar[bool] = False
    """Whether it goes on from the weights of a plain training."""

    @property
    @abstractmethod
    def options(self) -> Mapping[str, Value]:
        """The value of every option that the user has."""

    @property
    @abstractmethod
    def streams(self) -> Sequence[str]:
        """Samplers of `losses.samplers`; `same` is the rows before it in another view.

        A batch of B images has B of each stream, one stream after the other.
        """

    @property
    def counts_seen(self) -> bool:
        """Whether the loss takes the images that were trained on so far for the class counts."""
        return False

    def network(self, plain: Backbone, *, image_shape: tuple[int, int, int], seed: int) -> Backbone:
        """The network that is trained, made of a plain one's modules.

        Args:
            plain: freshly built or loaded; not to be used afterwards.
            image_shape: (C, H, W) of the images.
            seed: of what the method draws itself.

        Raises:
            ConfigError: the method does not know what to do with that network.
        """
        return plain

    def prepare(self, model: Backbone, dataset: LongTailedDataset, *, device: torch.device) -> None:
        """What precedes the first step; the model is in training mode afterwards.

        Args:
            model: on `device`.
            dataset: its training split is learned from.
            device: of the model.
        """
        model.train()

    def rate_factors(self, model: Backbone) -> Iterable[tuple[list[nn.Parameter], float]]:
        """All parameters, in groups, each with what the recipe's learning rate is times for it."""
        return [(list(model.parameters()), 1.0)]

    def outputs(self, forward: Forward, images: Tensor, *, progress: float) -> tuple[Tensor, ...]:
        """What the network makes of a batch's normalised images; its logits come first."""
        return forward(images)

    def answers(self, labels: Tensor) -> Tensor:
        """Of a batch's labels, those that its logits are held against to tell the accuracy."""
        return labels

    @abstractmethod
    def loss(
        self, outputs: tuple[Tensor, ...], labels: Tensor, *, class_counts: Tensor, progress: float
    ) -> Tensor:
        """The loss of a batch, as a scalar.

        Args:
            outputs: as `outputs` gives them, the logits at least float32.
            labels: (S B,) of all streams' images.
            class_counts: (K,) float32.
            progress: of the training, from 0 at the first step to less than 1.
        """

    def prior_counts(self, class_counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64] | None:
        """(K,) counts that stand for the prior of the network's probabilities; None where these
        stand for none, as a heuristic's.
        """
        return None

    def record(self) -> dict[str, Any]:
        """Name and options as JSON values."""
        return {"name": self.name, "options": dict(self.options)}


def loss_options(name: str, texts: Sequence[str] = ()) -> dict[str, Value]:
    """The keyword arguments of a loss of `LOSSES`, at their defaults unless they are said.

    Raises:
        ConfigError: see `parse_options`.
    """
    return parse_options(LOSSES[name].loss, texts, method=name)


@dataclass(frozen=True)
class LossMethod(TrainingMethod):
    """A loss and a sampler of `LOSSES` on any network; some with a head of cosines.

    Attributes:
        name: a key of `LOSSES`.
        arguments: the options, which are keyword arguments of the loss.
    """

    name: str = "softmax"  # type: ignore[misc]
    arguments: Mapping[str, Value] = field(default_factory=lambda: loss_options("softmax"))

    @property
    def options(self) -> Mapping[str, Value]:
        """The arguments."""
        return self.arguments

    @property
    def streams(self) -> Sequence[str]:
        """One, of its sampler."""
        return (LOSSES[self.name].sampler,)

    @property
    def counts_seen(self) -> bool:
        """As its terms say."""
        return LOSSES[self.name].counts_seen

    def network(self, plain: Backbone, *, image_shape: tuple[int, int, int], seed: int) -> Backbone:
        """The plain network, where it is asked for with a head of cosines, whose rows begin at
        unit length as in LDAM's released code.
        """
        scale = self.arguments.get("scale")
        if scale:
            num_classes, num_features = plain.head.weight.shape
            plain.head = NormalisedHead(num_features, num_classes, scale=float(scale))
            draw_linear(plain.head, method_generator(seed))
            with torch.no_grad():
                plain.head.weight.copy_(unit_length(plain.head.weight))
        return plain

    def loss(
        self, outputs: tuple[Tensor, ...], labels: Tensor, *, class_counts: Tensor, progress: float
    ) -> Tensor:
        """That of the terms, with the options."""
        loss = LOSSES[self.name].loss
        return loss(
            outputs[0], labels, class_counts=class_counts, progress=progress, **self.arguments
        )

    def prior_counts(self, class_counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64] | None:
        """As its terms say."""
        counts = torch.from_numpy(class_counts.astype(np.float64))
        prior = LOSSES[self.name].prior(counts, self.arguments)
        return None if prior is None else prior.numpy()

    def record(self) -> dict[str, Any]:
        """Name and options; of a user's own loss its code too, with which alone a run goes on."""
        code = LOSSES[self.name].code
        return {**super().record(), **({"code": code} if code else {})}
