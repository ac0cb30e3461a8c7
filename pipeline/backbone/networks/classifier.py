"""What phase one asks of a network, and any image classifier made into that.

A `Backbone` gives features and one linear layer that makes logits of them. Another classifier
becomes one by being cut before its last linear layer; which layer that is, is observed: in a
forward pass on shapes alone, the network's output must be the very tensor that a plain linear layer
returned. N images of C channels and H x W pixels, K classes, D features.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from marr_pipeline.backbone.networks.heads import NormalisedHead
from marr_pipeline.errors import ConfigError

PROBE_SIZE = 224
"""Side in pixels; every classifier of torchvision takes it, those of one fixed size included."""


class Backbone(nn.Module):
    """A network with `logits = features @ head.weight.T + head.bias`, up to rounding.

    With a `NormalisedHead` its `rows()` stand for the weight, and the features are normalised.

    Attributes:
        head: the linear layer, weight (K, D) and bias (K,); always its last one, under this name.
        head_aliases: what the layer is called in the networks' own checkpoints, beside `head`.
    """

    head: nn.Linear
    head_aliases: tuple[str, ...] = ()

    def features(self, images: Tensor) -> Tensor:
        """(N, D) of normalised images (N, C, H, W), before a head that does so normalises them."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Logits (N, K) and features (N, D) of normalised images (N, C, H, W).

        A method's own network may give more while it is trained.
        """
        features = self.features(images)
        if isinstance(self.head, NormalisedHead):
            features = self.head.normalised(features)
        return self.head(features), features


class BackboneBuilder(Protocol):
    """Makes a network whose initial weights are a function of the arguments alone."""

    def __call__(self, num_classes: int, *, in_channels: int, seed: int) -> Backbone:
        """A network for images of `in_channels` channels.

        Raises:
            ConfigError: the network does not take so many channels.
        """
        ...


class Classifier(Backbone):
    """`head(body(images))`: a network whose last layer was taken out of it."""

    def __init__(self, body: nn.Module, head: nn.Linear, *, head_path: str) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.head_aliases = (head_path,)

    def features(self, images: Tensor) -> Tensor:
        """(N, D) of normalised images (N, C, H, W)."""
        features: Tensor = self.body(images)
        return features


def build_classifier(
    name: str,
    make: Callable[[], nn.Module],
    *,
    in_channels: int,
    seed: int,
    image_size: int = PROBE_SIZE,
) -> Classifier:
    """A library's network, its initial weights drawn from `seed` and no other state touched.

    Args:
        name: of the network, for errors.
        make: builds it; libraries draw from torch's global generator.
        in_channels: of its images.
        seed: of that generator, which is put back afterwards.
        image_size: side in pixels of an image that the network takes.

    Raises:
        ConfigError: the network does not end in one plain linear layer.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = make()
    return cut_classifier(network, (in_channels, image_size, image_size), name=name)


def cut_classifier(
    network: nn.Module, image_shape: tuple[int, int, int], *, name: str
) -> Classifier:
    """Take the last linear layer out of a network; one without a bias gets one of zeros.

    Args:
        network: from images (N, C, H, W) to logits (N, K); changed in place.
        image_shape: (C, H, W) of an image that the network takes.
        name: of the network, for errors.

    Raises:
        ConfigError: the network does not end in one plain linear layer.
    """
    path = _last_linear(network, image_shape, name)
    head = network.get_submodule(path)
    assert isinstance(head, nn.Linear)
    network.set_submodule(path, nn.Identity())
    if "bias" not in dict(head.named_parameters()):
        zeros = torch.zeros(head.out_features, device=head.weight.device, dtype=head.weight.dtype)
        head.bias = nn.Parameter(zeros)
    return Classifier(network, head, head_path=path)


def check_images(model: Backbone, image_shape: tuple[int, int, int], *, name: str) -> None:
    """Raise a ConfigError unless the network takes images (C, H, W) of that shape."""
    try:
        forward_of_shapes(model, image_shape)
    except (AssertionError, RuntimeError, ValueError) as error:  # what networks refuse images with
        channels, height, width = image_shape
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(
            f"{name}: images that the network takes expected, got {height} x {width} pixels of "
            f"{channels} channels ({reason}); choose another --image-size or backbone"
        ) from error


def _last_linear(network: nn.Module, image_shape: tuple[int, int, int], name: str) -> str:
    """Path of the one linear layer (N, D) -> (N, K) whose result is the network's."""
    results: list[tuple[str, Tensor]] = []  # in the order of the calls
    handles = [
        module.register_forward_hook(
            lambda module, given, result, path=path: results.append((path, result))
        )
        for path, module in network.named_modules()
        if not list(module.children())
    ]
    try:
        output = forward_of_shapes(network, image_shape)
    finally:
        for handle in handles:
            handle.remove()
    made_output = [path for path, result in results if result is output]
    last = made_output[-1] if made_output else results[-1][0]
    layer = network.get_submodule(last)
    num_calls = [path for path, _ in results].count(last)
    is_head = type(layer) is nn.Linear and isinstance(output, Tensor) and output.ndim == 2
    if not made_output or not is_head or num_calls != 1:
        raise ConfigError(
            f"{name}: a network whose logits are one linear layer on its features expected, got "
            f"one that ends in '{last}' ({type(layer).__name__}"
            f"{'' if made_output else ' and more computation'}); choose another backbone"
        )
    return last


def forward_of_shapes(network: nn.Module, image_shape: tuple[int, int, int]) -> object:
    """The network in eval mode on one image, with shapes in place of numbers."""
    modes = {module: module.training for module in network.modules()}
    state = {
        name: torch.empty_like(value, device="meta") for name, value in network.state_dict().items()
    }
    image = torch.empty(1, *image_shape, device="meta")
    try:
        with torch.no_grad():
            result: object = torch.func.functional_call(network.eval(), state, (image,))
    finally:
        for module, training in modes.items():
            module.training = training
    return result
