"""Networks by name, and the recipes that train them."""

from collections.abc import Callable

import torch

from pipeline.backbone.recipe import RecipeTerms
from pipeline.backbone.resnet import ResNet, initialise, resnet8, resnet32
from pipeline.errors import ConfigError

BACKBONES: dict[str, Callable[..., ResNet]] = {"resnet8": resnet8, "resnet32": resnet32}

RECIPES: dict[str, RecipeTerms] = {
    "default": RecipeTerms(initial_learning_rate=0.05, peak_learning_rate=0.1),
    "paper": RecipeTerms(initial_learning_rate=0.05, peak_learning_rate=0.05, warmup_iterations=0),
    "official": RecipeTerms(
        initial_learning_rate=0.05,
        peak_learning_rate=0.1,
        by_epoch=True,
        augmentation="autoaugment-cutout",
    ),
}


def build_backbone(name: str, num_classes: int, *, in_channels: int, seed: int) -> ResNet:
    """A freshly initialised network; its weights are a function of the arguments alone."""
    if name not in BACKBONES:
        raise ConfigError(
            f"backbone: one of {', '.join(BACKBONES)} expected, got {name}; choose one"
        )
    model: ResNet = BACKBONES[name](num_classes, in_channels=in_channels)
    initialise(model, torch.Generator().manual_seed(seed))
    return model
