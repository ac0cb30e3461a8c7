"""A training before it starts: its schedule, what decides its weights, and how it is run.

A recipe's terms become a `Recipe` on given data; a `TrainingPlan` adds images, network and seed.

N training images, batches of s, T steps in all, w of them warm-up, learning rates a (initial)
and p (peak). By step:   t < w:  a + (p - a) t / w;   else  p (1 + cos(pi (t - w) / (T - w))) / 2.

By epoch (`official`, the bookkeeping of the released MARC code): E epochs, for CIFAR
ceil(13,000 / ceil(N / s)), of floor(N / s) - 1 steps; E_w = ceil(w / ceil(N / s)) of them warm-up,
and in epoch e
e < E_w:  a + (e - 1) (p - a) / (E_w - 1);   else  p (1 + cos(pi (e - E_w) / (E - E_w))) / 2.
"""

import math
from dataclasses import asdict, dataclass, field

import torch

from marr_pipeline.backbone import build_backbone
from marr_pipeline.backbone.checkpoints.checkpoint import TrainingRecord
from marr_pipeline.backbone.checkpoints.foreign import InitialWeights
from marr_pipeline.backbone.networks.classifier import Backbone
from marr_pipeline.backbone.training.method import LossMethod, TrainingMethod
from marr_pipeline.data.dataset import LongTailedDataset
from marr_pipeline.data.views import DRAWS
from marr_pipeline.device import dtype_name
from marr_pipeline.distributed import ALONE, Ranks
from marr_pipeline.errors import ConfigError
from marr_pipeline.names import MAX_ITERATIONS
from marr_pipeline.protocols import PhaseOneDefaults, RecipeTerms

WARMUP_SHARE = 0.06


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe on a given number of images: everything the training loop does is in here.

    Attributes:
        name: the recipe's, as the user typed it.
        iterations: optimiser steps in all.
        steps_per_epoch: steps from one permutation of the images.
        batch_size: images a step; at most, where `drops_remainder` is false.
        drops_remainder: true takes `steps_per_epoch` full batches of a permutation and drops
            the rest; false deals all images to the steps, in batches that differ by one image
            at most (no ragged last batch with statistics of a few images).
        warmup: steps of warm-up; epochs if `by_epoch`.
        by_epoch: the learning rate changes once an epoch.
        initial_learning_rate: where the warm-up starts.
        peak_learning_rate: where it ends and the cosine starts.
        momentum: of SGD.
        weight_decay: of SGD.
        augmentation: a name in `AUGMENTATIONS`.
        mixing: a name in `MIXINGS`: every image of a batch is mixed with the one before it, and
            the loss is that of both labels, each with its image's share.
        ema: decay of the average of the weights that is kept; None keeps the last weights.
    """

    name: str
    iterations: int
    steps_per_epoch: int
    batch_size: int
    drops_remainder: bool
    warmup: int
    by_epoch: bool
    initial_learning_rate: float
    peak_learning_rate: float
    momentum: float
    weight_decay: float
    augmentation: str
    mixing: str = "none"
    ema: float | None = None

    def __post_init__(self) -> None:
        for key in ("iterations", "steps_per_epoch", "batch_size"):
            _at_least(key, getattr(self, key), 1)
        for key in ("warmup", "initial_learning_rate", "momentum", "weight_decay"):
            _at_least(key, getattr(self, key), 0)
        if not 0 < self.peak_learning_rate < math.inf:
            raise ConfigError(
                f"recipe {self.name}: a positive peak learning rate expected, got "
                f"{self.peak_learning_rate}; 0.1 is the default's"
            )

    def learning_rate(self, step: int) -> float:
        """Learning rate of `step` 0..iterations-1; a pure function (module docstring)."""
        low, peak = self.initial_learning_rate, self.peak_learning_rate
        if self.by_epoch:
            now, end = step // self.steps_per_epoch, -(-self.iterations // self.steps_per_epoch)
            rise = (now - 1) / max(1, self.warmup - 1)
        else:
            now, end = step, self.iterations
            rise = now / max(1, self.warmup)
        if now < self.warmup:
            return low + rise * (peak - low)
        return peak * (1 + math.cos(math.pi * (now - self.warmup) / (end - self.warmup))) / 2

    def record(self) -> dict[str, object]:
        """Every field as a JSON value; those that came later only where they do something."""
        record = asdict(self)
        for key, idle in (("mixing", "none"), ("ema", None)):
            if record[key] == idle:
                del record[key]
        return record


def plan_recipe(
    name: str,
    terms: RecipeTerms,
    *,
    num_samples: int,
    defaults: PhaseOneDefaults,
    iterations: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    augmentation: str | None = None,
    weight_decay: float | None = None,
    mixing: str | None = None,
    ema: float | None = None,
) -> Recipe:
    """What `terms` mean on `num_samples` images, with the user's and the dataset's overrides.

    An epoch is ceil(N / s) steps. The warm-up is the smaller of the recipe's and 6 % of the
    iterations; the by-epoch bookkeeping keeps its own 800 unless its length was overridden.

    Args:
        name: the recipe's name, kept in the result.
        terms: the recipe.
        num_samples: N, training images.
        defaults: the dataset's; they stand before the recipe's and behind the user's.
        iterations: the user's number of steps.
        epochs: the user's number of epochs, instead of `iterations`.
        batch_size: the user's images a step; never more than N are taken.
        augmentation: the user's; else the recipe's, else the dataset's.
        weight_decay: the user's; else the recipe's, as are the next two.
        mixing: a name in `MIXINGS`.
        ema: decay of an average of the weights; 0 for none.

    Raises:
        ConfigError: both lengths given, a number below 1, an augmentation that the dataset does
            not allow, or too few images for the by-epoch bookkeeping.
    """
    if iterations is not None and epochs is not None:
        raise ConfigError(
            f"recipe {name}: iterations or epochs expected, got both ({iterations} and {epochs}); "
            "leave one out"
        )
    batch = min(_first(batch_size, defaults.batch_size, terms.batch_size), num_samples)
    _at_least("batch size", batch, 1)
    loader_length = math.ceil(num_samples / batch)
    asked = None if epochs is None else epochs * loader_length
    own = terms.iterations if terms.epochs is None else terms.epochs * loader_length
    length = _first(iterations, asked, defaults.iterations, own)
    _at_least("iterations", length, 1)
    if length > MAX_ITERATIONS:
        raise ConfigError(
            f"recipe {name}: iterations up to {MAX_ITERATIONS:,} expected, got {length:,}"
        )
    warmup = min(terms.warmup_iterations, int(WARMUP_SHARE * length))
    steps_per_epoch = loader_length
    if terms.by_epoch:
        if length == own:
            warmup = terms.warmup_iterations
        steps_per_epoch = num_samples // batch - 1
        if steps_per_epoch < 1:
            raise ConfigError(
                f"recipe {name}: at least {2 * batch} images expected for batches of {batch}, got "
                f"{num_samples}; choose a smaller --batch-size or another recipe"
            )
        length = math.ceil(length / loader_length) * steps_per_epoch
        warmup = math.ceil(warmup / loader_length)
    chosen = augmentation or terms.augmentation or defaults.augmentation
    if chosen not in defaults.augmentations:
        raise ConfigError(
            f"recipe {name}: an augmentation out of {', '.join(defaults.augmentations)} expected "
            f"for this dataset, got {chosen}; another would change what its images show"
        )
    return Recipe(
        name=name,
        iterations=length,
        steps_per_epoch=steps_per_epoch,
        batch_size=batch,
        drops_remainder=terms.by_epoch,
        warmup=warmup,
        by_epoch=terms.by_epoch,
        initial_learning_rate=terms.initial_learning_rate,
        peak_learning_rate=terms.peak_learning_rate,
        momentum=terms.momentum,
        weight_decay=terms.weight_decay if weight_decay is None else weight_decay,
        augmentation=chosen,
        mixing=mixing or terms.mixing,
        ema=(terms.ema if ema is None else ema) or None,
    )


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """A run before it starts: what `train_backbone` does is a function of this and the device.

    Attributes:
        dataset: its training split is learned from.
        backbone: a name in `BACKBONES`.
        recipe: what happens at every step.
        seed: of the initial weights, the order of the images and their augmentation.
        precision: of the forward and backward pass, float32, bfloat16 or float16; the weights and
            the loss are float32 always.
        method: what is trained, on which images, by which loss.
        initial: weights to start from; None draws all of them.
        select_on: `tune` keeps the weights that are best on that split, `last` the last ones.
        accumulate: micro-batches of a step, each with batch statistics of its own; the gradient is
            that of the whole batch.
        norm_groups: into how many parts batch statistics divide a micro-batch: 1, or the number
            of processes, which then decides the weights.
    """

    dataset: LongTailedDataset
    backbone: str
    recipe: Recipe
    seed: int
    precision: torch.dtype
    method: TrainingMethod = field(default_factory=LossMethod)
    initial: InitialWeights | None = None
    select_on: str = "last"
    accumulate: int = 1
    norm_groups: int = 1

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"seed: at least 0 expected, got {self.seed}; choose another")
        if self.select_on == "tune" and self.dataset.tune is None:
            raise ConfigError(
                f"--select-on tune: a tune split expected, got {self.dataset.name} without one; "
                "hold one out with --tune-fraction, or keep the last weights"
            )
        if self.recipe.mixing != "none" and len(self.method.streams) > 1:
            raise ConfigError(
                f"--mixing: none expected for {self.method.name}, whose batches are of several "
                f"kinds of images, got {self.recipe.mixing}; leave it out"
            )
        check_batches(
            self.recipe, num_samples=len(self.dataset.train), micro_batches=self.accumulate
        )

    def initial_model(self) -> Backbone:
        """The network before its first step.

        Raises:
            ConfigError: the backbone is unknown or does not take the images.
        """
        model = build_backbone(
            self.backbone,
            self.dataset.num_classes,
            in_channels=self.dataset.train.image_shape[0],
            seed=self.seed,
        )
        if self.initial is not None:
            self.initial.matched.load_into(model)
        shape = self.dataset.train.image_shape
        return self.method.network(model, image_shape=shape, seed=self.seed)

    def record(self) -> TrainingRecord:
        """What a checkpoint of this run keeps."""
        config: dict[str, object] = {
            "dataset": self.dataset.record(),
            "backbone": self.backbone,
            "recipe": self.recipe.record(),
            "seed": self.seed,
            "precision": dtype_name(self.precision),
            "draws": DRAWS,
        }
        if self.method != LossMethod():
            config["method"] = self.method.record()
        if self.initial is not None:
            config["initial"] = self.initial.record
        if self.select_on != "last":
            config["select_on"] = self.select_on
        for key in ("accumulate", "norm_groups"):
            if getattr(self, key) != 1:
                config[key] = getattr(self, key)
        return TrainingRecord(config, self.dataset.source_rows())


def check_batches(
    recipe: Recipe, *, num_samples: int, micro_batches: int, ranks: Ranks = ALONE
) -> None:
    """Refuse batches of which a micro-batch or a process would get no image.

    Raises:
        ConfigError: as said.
    """
    smallest = (
        recipe.batch_size if recipe.drops_remainder else num_samples // recipe.steps_per_epoch
    )
    if micro_batches < 1:
        raise ConfigError(f"accumulate: at least 1 expected, got {micro_batches}; choose another")
    if smallest < micro_batches * ranks.size:
        raise ConfigError(
            f"batches of at least {micro_batches * ranks.size} images expected for {micro_batches} "
            f"micro-batches in {ranks.size} processes, got {smallest}; give a larger --batch-size, "
            "a smaller --accumulate or fewer processes"
        )


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Kept in a checkpoint's provenance and never compared: a resumed run may change it.

    Attributes:
        channels_last: images as (N, H, W, C) in memory, for which most kernels are faster.
        compile: translate the network by torch.compile; takes a minute or more at the start.
        ranks: the processes that share every batch.
    """

    channels_last: bool = True
    compile: bool = False
    ranks: Ranks = ALONE

    @property
    def memory_format(self) -> torch.memory_format:
        """Of weights and images."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def record(self) -> dict[str, str]:
        """What a checkpoint's provenance says of it."""
        layout = "channels last" if self.channels_last else "channels first"
        return {
            "memory": layout,
            "compiled": "yes" if self.compile else "no",
            "processes": str(self.ranks.size),
        }


def _first(*choices: int | None) -> int:
    """The first that is given; the last always is."""
    return next(choice for choice in choices if choice is not None)


def _at_least(field: str, value: float, bound: float) -> None:
    if not bound <= value < math.inf:
        raise ConfigError(f"{field}: at least {bound} expected, got {value}; choose another")
