"""What phase one asks of a network, and any image classifier made into that.

A `Backbone` gives features and one linear layer that makes logits of them. Another classifier
becomes one by being cut before its last linear layer; which layer that is, is observed: in a
forward pass on shapes alone, the network's output must be the very tensor that a plain linear layer
returned, or what such layers as change nothing made of it. N images of C channels and H x W pixels,
K classes, D features.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from marr_pipeline.backbone.networks.heads import NormalisedHead
from marr_pipeline.errors import ConfigError, described, first_line

PROBE_SIZE = 224
"""Side in pixels; every classifier of torchvision takes it, those of one fixed size included."""

PASSING = (nn.Identity, nn.Flatten, nn.Dropout)
"""Layers that give logits (N, K) back as they are in evaluation."""


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

    A convolution of one pixel is a linear layer.

    Args:
        network: from images (N, C, H, W) to logits (N, K); changed in place.
        image_shape: (C, H, W) of an image that the network takes.
        name: of the network, for errors.

    Raises:
        ConfigError: the network does not end in one plain linear layer.
    """
    path = _last_linear(network, image_shape, name)
    layer = network.get_submodule(path)
    network.set_submodule(path, nn.Identity())
    return Classifier(network, _as_linear(layer), head_path=path)


def check_images(model: Backbone, image_shape: tuple[int, int, int], *, name: str) -> None:
    """Raise a ConfigError unless the network takes images (C, H, W) of that shape."""
    try:
        forward_of_shapes(model, image_shape)
    except (AssertionError, RuntimeError, ValueError) as error:  # what networks refuse images with
        channels, height, width = image_shape
        raise ConfigError(
            f"{name}: images that the network takes expected, got {height} x {width} pixels of "
            f"{channels} channels ({first_line(error)}); choose another --image-size or backbone"
        ) from error


def _last_linear(network: nn.Module, image_shape: tuple[int, int, int], name: str) -> str:
    """Path of the one linear layer (N, D) -> (N, K) whose result is the network's.

    What changes nothing in evaluation may come after it, see `PASSING`.
    """
    calls: list[tuple[str, tuple[object, ...], object]] = []  # in their order
    observed = _on_shapes(network)
    for path, module in observed.named_modules():
        if not list(module.children()):
            module.register_forward_hook(
                lambda module, given, result, path=path: calls.append((path, given, result))
            )
    try:
        output = _run_on_shapes(observed, image_shape)
    except Exception as error:  # a library's network fails in its own ways
        raise ConfigError(
            f"{name}: a network that takes an image {image_shape} expected, got one that fails on "
            f"it ({described(error)}); choose another backbone"
        ) from error
    wanted, last = output, ""
    for path, given, result in reversed(calls):
        if result is wanted:
            last = path
            if not isinstance(network.get_submodule(path), PASSING):
                break
            wanted = given[0]
    is_matrix = isinstance(output, Tensor) and output.ndim == 2
    inputs = [arguments[0] for path, arguments, _ in calls if path == last]
    is_head = len(inputs) == 1 and _is_linear(network.get_submodule(last), inputs[0])
    if not is_head or not is_matrix:
        raise ConfigError(
            f"{name}: a network whose logits are one linear layer on its features expected, got "
            f"one that ends in {_ending(network, last, calls, output)}; choose another backbone"
        )
    return last


def _is_linear(layer: nn.Module, given: object) -> bool:
    """Whether what a layer makes of its input is x @ weight.T + bias, a class derived from such a
    layer included, which may compute something else.
    """
    if not isinstance(layer, nn.Linear | nn.Conv2d) or not isinstance(given, Tensor):
        return False
    if given.shape != (1, *layer.weight.shape[1:]):
        return False  # more than a matrix (1, D) or one pixel (1, D, 1, 1)
    generator = torch.Generator().manual_seed(0)
    values = {
        name: torch.randn(parameter.shape, generator=generator, device="cpu")
        for name, parameter in layer.named_parameters()
    }
    x = torch.randn(given.shape, generator=generator, device="cpu")
    with torch.no_grad():
        made = torch.func.functional_call(layer, values, (x,)).flatten(1)
        expected = linear(x.flatten(1), values["weight"].flatten(1), values.get("bias"))
    return made.shape == expected.shape and torch.allclose(made, expected, rtol=1e-3, atol=1e-3)


def _as_linear(layer: nn.Module) -> nn.Linear:
    """The linear layer of one that `_is_linear`, with a bias."""
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    if type(layer) is nn.Linear and layer.bias is not None:
        return layer
    weight = layer.weight.detach().flatten(1)
    head = nn.Linear(weight.shape[1], weight.shape[0], device="meta")  # draws nothing
    head.weight = nn.Parameter(weight)
    zeros = torch.zeros(len(weight), device=weight.device, dtype=weight.dtype)
    head.bias = nn.Parameter(zeros if layer.bias is None else layer.bias.detach())
    return head


def _ending(
    network: nn.Module, last: str, calls: Sequence[tuple[str, object, object]], output: object
) -> str:
    """What makes a network's output where it is no linear layer alone."""
    shape = getattr(output, "shape", None)
    heads = [
        path
        for path, _, result in calls
        if isinstance(network.get_submodule(path), nn.Linear)
        and getattr(result, "shape", None) == shape
    ]
    if not last and len(set(heads)) > 1:
        return f"{len(heads)} heads ({', '.join(heads)}) and a sum of them"
    shown = last or calls[-1][0]
    kind = type(network.get_submodule(shown)).__name__
    return f"'{shown}' ({kind}{'' if last else ' and more computation'})"


def forward_of_shapes(network: nn.Module, image_shape: tuple[int, int, int]) -> object:
    """The network in eval mode on one image, with shapes in place of numbers."""
    return _run_on_shapes(_on_shapes(network), image_shape)


def _on_shapes(network: nn.Module) -> nn.Module:
    """A copy in eval mode whose parameters and buffers, registered anywhere, are shapes alone.

    `torch.func.functional_call` would do without a copy, but gives a module that stands at two
    places the shapes for good.
    """
    shapes = {
        id(value): torch.empty_like(value, device="meta")
        for value in (*network.parameters(), *network.buffers())
    }
    return copy.deepcopy(network, shapes).eval()


def _run_on_shapes(network: nn.Module, image_shape: tuple[int, int, int]) -> object:
    with torch.no_grad():
        result: object = network(torch.empty(1, *image_shape, device="meta"))
    return result
