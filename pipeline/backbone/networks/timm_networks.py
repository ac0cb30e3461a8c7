"""Networks of timm by its own names; timm is an extra and loaded when one is asked for."""

from difflib import get_close_matches
from functools import partial
from importlib import import_module
from types import ModuleType

from marr_pipeline.backbone.networks.classifier import Classifier, build_classifier
from marr_pipeline.backbone.networks.network_input import NetworkInput
from marr_pipeline.data.normalise import Normalisation
from marr_pipeline.errors import ConfigError


def timm_network(name: str, num_classes: int, *, in_channels: int, seed: int) -> Classifier:
    """A network of timm with fresh weights.

    Args:
        name: one of `timm.list_models()`.
        num_classes: K.
        in_channels: of the images; timm changes the first layer to fit.
        seed: of the initial weights.

    Raises:
        ConfigError: timm is not installed, it has no such network, or the network has no last
            linear layer.
    """
    timm = _timm_with(name)
    make = partial(timm.create_model, name, num_classes=num_classes, in_chans=in_channels)
    return build_classifier(
        f"timm:{name}",
        make,
        in_channels=in_channels,
        seed=seed,
        image_size=timm.get_pretrained_cfg(name).input_size[-1],
    )


def timm_input(name: str) -> NetworkInput:
    """The images that timm trains and evaluates a network on unless it is told otherwise.

    Raises:
        ConfigError: timm is not installed, or it has no such network.
    """
    known = _timm_with(name).get_pretrained_cfg(name)
    return NetworkInput(
        image_size=known.input_size[-1],
        normalisation=Normalisation(tuple(known.mean), tuple(known.std)),
    )


def _timm_with(name: str) -> ModuleType:
    try:
        timm = import_module("timm")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"timm:{name}: the package timm expected, got none installed; "
            "pip install 'marr-pipeline[timm]'"
        ) from error
    known = timm.list_models()
    if name not in known:
        close = get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "see timm.list_models()"
        raise ConfigError(f"backbone: a network of timm expected, got {name}; {hint}")
    return timm
