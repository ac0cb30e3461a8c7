"""The network and the images behind a cache, for the paper's online way."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cache import Cache, CacheError, open_cache
from pipeline.bench.contest import marr_contest
from pipeline.bench.online import OnlineBench, ViewLogits, run_online_bench
from pipeline.bench.settings import BenchSettings
from pipeline.cli.bench.images import UNNAMED, network_of_checkpoint
from pipeline.cli.cached import dataset_name
from pipeline.cli.caching import cache_writer
from pipeline.cli.phase_one import Network, PhaseOneRequest
from pipeline.cli.progress import ProgressLine
from pipeline.data import AUGMENTATIONS
from pipeline.data.augment import augment_batch, draw_view
from pipeline.data.images import ImageSplit
from pipeline.data.normalise import normalise
from pipeline.errors import ConfigError
from pipeline.rectify.inputs import FitInputs

SPLIT = "train"


@dataclass(frozen=True, kw_only=True)
class OnlineRequest:
    """What the user asked of the online way.

    Attributes:
        cache: whose augmented views are fitted.
        checkpoint: the network that made it.
        data_root: folder of the images; None where the dataset needs none.
        steps: length of the schedule; None for the paper's.
    """

    cache: Path
    checkpoint: Path
    data_root: Path | None
    steps: int | None


@dataclass(frozen=True, kw_only=True)
class OnlineWay:
    """A request whose network was found to be the one that made the cache.

    Attributes:
        cached: the cache.
        network: with the augmentation and seed of the cache's views.
        steps: length of the schedule; None for the paper's.
    """

    cached: Cache
    network: Network
    steps: int | None

    def measure(self, inputs: FitInputs, settings: BenchSettings) -> OnlineBench:
        """Run it on the images behind the augmented rows of the cache.

        Args:
            inputs: those rows.
            settings: the objective, and how it is timed.

        Raises:
            ConfigError: more steps than the paper's schedule has.
        """
        return run_online_bench(
            marr_contest(inputs, settings),
            view_logits(self.network, self.cached.split(SPLIT).view_indices("augmented")),
            dataset=dataset_name(self.cached),
            steps=self.steps,
            repeat=settings.repeat,
            progress=ProgressLine("online", unit=" steps"),
        )


def prepare_online(request: OnlineRequest, *, device: torch.device) -> OnlineWay:
    """Load the network and the images.

    Raises:
        StaleCacheError: the cache was not made by that network from those images; each
            difference is named.
        DataError: the checkpoint or the images cannot be used.
    """
    cached = open_cache(request.cache)
    network = network_of_cache(
        cached, request.checkpoint, data_root=request.data_root, device=device
    )
    return OnlineWay(cached=cached, network=network, steps=request.steps)


def network_of_cache(
    cached: Cache, checkpoint: Path, *, data_root: Path | None, device: torch.device
) -> Network:
    """The network that made a cache, with the augmentation and seed of the cache's views.

    Args:
        cached: the cache.
        checkpoint: of the network.
        data_root: folder of its images.
        device: where it will run.

    Raises:
        StaleCacheError: another network or other images made the cache; each difference is named.
        CacheError: no network made it, or it has no augmented views.
    """
    drawn = _drawn_views(cached)
    asked = PhaseOneRequest(dataset=UNNAMED, data_root=data_root, device=device.type)
    network = network_of_checkpoint(checkpoint, asked)
    network = replace(network, augmentation=drawn["augmentation"], seed=drawn["seed"])
    plan = cache_writer(
        cached.path,
        network,
        num_views=cached.split(SPLIT).views.count("augmented"),
        store=cached.parts["store"],  # type: ignore[arg-type] # as `pipeline extract` wrote it
        dtype=cached.parts["dtype"],  # type: ignore[arg-type] # likewise
        batch_norm="eval",
    ).plan
    cached.require_parts(plan.parts)
    return network


def _drawn_views(cached: Cache) -> dict[str, Any]:
    """How the augmented views of the training images were drawn."""
    transforms = cached.parts.get("transforms")
    views = cached.split(SPLIT).views
    if not isinstance(transforms, dict) or "augmented" not in views:
        found = ", ".join(views) if isinstance(transforms, dict) else "an imported cache"
        raise CacheError(
            f"{cached.path}: augmented views made by `pipeline extract` expected, got {found}; "
            "extract with --views"
        )
    drawn = transforms[SPLIT]
    assert isinstance(drawn, dict)
    return drawn


def view_logits(network: Network, views: list[int]) -> ViewLogits:
    """The frozen network on images augmented anew, as extraction augments them.

    Args:
        network: put into eval mode.
        views: index in the cache of each view that may be asked for, all of them augmented.
    """
    split, device = network.dataset.train, network.device
    if not isinstance(split, ImageSplit):
        raise ConfigError(
            "bench online: images in memory expected, got images that are read from their files; "
            "give a smaller --image-size"
        )
    model = network.model.to(device).to(memory_format=torch.channels_last).eval()
    draws = torch.stack(
        [draw_view(split.source_indices, seed=network.seed, view=view) for view in views]
    )
    images = split.images.to(device)

    def logits_of(chosen: Tensor, samples: Tensor) -> Tensor:
        batch = augment_batch(
            images[samples.to(device)],
            draws[chosen, samples].to(device),
            AUGMENTATIONS[network.augmentation],
        )
        # Not in inference mode, whose tensors autograd refuses.
        with torch.no_grad():
            logits: Tensor = model(normalise(batch, network.dataset.normalisation))[0]
        return logits

    return logits_of
