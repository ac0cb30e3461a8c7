"""What papers and their released codes state for each dataset, as plain data, once.

Figures of the benchmarks, which a user's files are held against: Liu et al. (2019) for ImageNet-LT
and Places-LT, Van Horn et al. (2018) for iNaturalist, Cui et al. (2019) and Cao et al. (2019) for
CIFAR; group sizes counted from the released lists, training counts of CIFAR-LT from its profile.

Recipes of phase one: `paper` is the text of the MARR paper, `official` what its released code
does, `default` ours: the released code's rates with every image of an epoch seen and the rate
changed at every step. The released code trains no network for Places-LT and iNaturalist 2018: it
takes weights of Kang et al. (2020). There `official` is the paper's text in its bookkeeping.

A dataset that is not named is treated as CIFAR's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from marr_pipeline.names import LARGE_AUGMENTATIONS, SMALL_AUGMENTATIONS

NORMALISATIONS = {
    # The figures that MARC, LDAM-DRW, BBN and their descendants use for both CIFARs.
    "cifar": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    # As every codebase of ImageNet-LT and Places-LT uses them.
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "inaturalist": ((0.466, 0.471, 0.380), (0.195, 0.194, 0.192)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    # Pixels in [-1, 1], as Inception and many vision transformers take them.
    "half": ((0.5,), (0.5,)),
}
"""Per-channel means and deviations of pixels in [0, 1]; single ones stand for every channel."""


@dataclass(frozen=True)
class Figures:
    """What a benchmark's paper says of its images.

    Attributes:
        images: number of images of each split that it has.
        largest: training images of the largest class.
        smallest: of the smallest.
        groups: number of many- (> 100), medium- and few-shot (< 20) classes.
    """

    images: Mapping[str, int]
    largest: int
    smallest: int
    groups: tuple[int, int, int]

    @property
    def num_classes(self) -> int:
        """K; every class is in one group."""
        return sum(self.groups)


@dataclass(frozen=True, kw_only=True)
class PhaseOneDefaults:
    """What phase one uses for a dataset unless it is told otherwise.

    Attributes:
        backbone: a name in `BACKBONES`.
        augmentation: a name in `AUGMENTATIONS`, one of `augmentations`.
        augmentations: those that keep the label of an image of this dataset.
        normalisation: a name in `NORMALISATIONS`; None takes the training images' own statistics.
        iterations: None leaves the recipe's.
        batch_size: None leaves the recipe's.
    """

    backbone: str
    augmentation: str
    augmentations: tuple[str, ...]
    normalisation: str | None = None
    iterations: int | None = None
    batch_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class RecipeTerms:
    """A recipe of phase one before it meets a dataset's images.

    Attributes:
        batch_size: images a step.
        initial_learning_rate: at the first step.
        peak_learning_rate: at the end of the warm-up.
        weight_decay: on every parameter, batch normalisation and biases included.
        iterations: optimiser steps (`by_epoch`: nominal; the real number is smaller).
        epochs: in place of `iterations`; exactly one of the two is stated.
        warmup_iterations: at most this many; see `plan_recipe`.
        momentum: of SGD.
        by_epoch: the released code's schedule and its dropped batches.
        pretrained: start from weights trained on ImageNet.
        augmentation: None takes the dataset's default.
        mixing: of the images of a batch, a name in `names.MIXINGS`.
        ema: decay of an average of the weights, which is then what is kept; None keeps the last.
    """

    batch_size: int
    initial_learning_rate: float
    peak_learning_rate: float
    weight_decay: float
    iterations: int | None = None
    epochs: int | None = None
    warmup_iterations: int = 0
    momentum: float = 0.9
    by_epoch: bool = False
    pretrained: bool = False
    augmentation: str | None = None
    mixing: str = "none"
    ema: float | None = None


@dataclass(frozen=True, kw_only=True)
class SgdTerms:
    """SGD of phase two before it meets a cache's samples.

    Attributes:
        peak_rate: from which the cosine falls.
        batch_size: samples a step.
        epochs: over the samples; None for `iterations`.
        iterations: optimiser steps in all, where there are no epochs.
        warmup_iterations: in which the rate rises to the peak, in whole epochs.
        epochs_ahead: of the rate; 1 where the code steps its scheduler before each epoch.
    """

    peak_rate: float
    batch_size: int
    epochs: int | None = None
    iterations: int = 0
    warmup_iterations: int = 0
    epochs_ahead: int = 0


_CIFAR_TERMS = RecipeTerms(
    iterations=13_000,
    batch_size=512,
    initial_learning_rate=0.05,
    peak_learning_rate=0.1,
    warmup_iterations=800,
    weight_decay=5e-4,
)
_CIFAR_RECIPES = {
    "default": _CIFAR_TERMS,
    "paper": replace(_CIFAR_TERMS, peak_learning_rate=0.05, warmup_iterations=0),
    "official": replace(_CIFAR_TERMS, by_epoch=True, augmentation="autoaugment-cutout-official"),
}
_CIFAR_SGD = SgdTerms(peak_rate=0.1, batch_size=512, iterations=2000)
_CIFAR_MARR = {
    "paper": replace(_CIFAR_SGD, peak_rate=0.05),
    "official": replace(_CIFAR_SGD, warmup_iterations=800),
}
_CIFAR_RETRAINING = dict.fromkeys(
    ("crt", "lws", "balanced-softmax-head"), replace(_CIFAR_SGD, epochs_ahead=1)
)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One dataset. What is left out is as for images that no paper names.

    Attributes:
        image_size: side in pixels.
        imbalance_ratio: of the training images; None takes them as they are.
        figures: the published ones, by imbalance ratio.
        list_names: file name of each split's list under the data root, taken if it is there and
            none is given.
        small: phase one's defaults for images that are kept in memory.
        large: for images that stay in their files.
        recipes: phase one's terms, by the recipe's name.
        marr: phase two's SGD in the `paper` and the `official` preset.
        retraining: what the released code of another method runs, by the method.
        tde_alpha: Tang et al.'s; None leaves their rule of thumb.
        training: options of training methods that were set otherwise for it, `NAME=VALUE` each, by
            the method.
    """

    image_size: int = 32
    imbalance_ratio: float | None = None
    figures: Mapping[float | None, Figures] = field(default_factory=dict)
    list_names: Mapping[str, str] = field(default_factory=dict)
    small: PhaseOneDefaults = PhaseOneDefaults(
        backbone="resnet32", augmentation="crop-flip", augmentations=SMALL_AUGMENTATIONS
    )
    large: PhaseOneDefaults = PhaseOneDefaults(
        backbone="resnet50",
        augmentation="resized-crop-jitter",
        augmentations=LARGE_AUGMENTATIONS,
        normalisation="imagenet",
    )
    recipes: Mapping[str, RecipeTerms] = field(default_factory=_CIFAR_RECIPES.copy)
    marr: Mapping[str, SgdTerms] = field(default_factory=_CIFAR_MARR.copy)
    retraining: Mapping[str, SgdTerms] = field(default_factory=_CIFAR_RETRAINING.copy)
    tde_alpha: float | None = None
    training: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def num_classes(self) -> int | None:
        """K; None where nothing is published."""
        return next((figures.num_classes for figures in self.figures.values()), None)

    @property
    def weight_decay(self) -> float:
        """The papers', of both phases."""
        return self.recipes["paper"].weight_decay


OTHER = Protocol()


def _cifar(figures: Mapping[float, tuple[int, int, int, tuple[int, int, int]]]) -> Protocol:
    """A CIFAR-LT from training images, largest and smallest class, and groups at every ratio."""
    return Protocol(
        imbalance_ratio=100.0,
        figures={
            ratio: Figures({"train": train, "test": 10_000}, largest, smallest, groups)
            for ratio, (train, largest, smallest, groups) in figures.items()
        },
        small=replace(OTHER.small, normalisation="cifar", augmentation="autoaugment-cutout"),
    )


def _lists(name: str) -> dict[str, str]:
    """The official val of both is `tune`."""
    return {"train": f"{name}_train.txt", "tune": f"{name}_val.txt", "test": f"{name}_test.txt"}


def _recipes(terms: RecipeTerms) -> dict[str, RecipeTerms]:
    """A large dataset's: section 4.1 of the MARR paper, which `default` follows."""
    return {"default": terms, "paper": terms, "official": replace(terms, by_epoch=True)}


def _marr(batch_size: int, epochs: int) -> dict[str, SgdTerms]:
    terms = SgdTerms(peak_rate=0.05, batch_size=batch_size, epochs=epochs)
    return {"paper": terms, "official": terms}


def _retraining(peak_rate: float, batch_size: int, epochs: int) -> dict[str, SgdTerms]:
    """Of Kang et al. (2020).

    Decoupled Balanced Softmax (Ren et al., 2020) is stated for CIFAR and Places-LT alone; elsewhere
    it has what cRT has, which trains the same head on the same samples.
    """
    crt = SgdTerms(peak_rate=peak_rate, batch_size=batch_size, epochs=epochs, epochs_ahead=1)
    return {"crt": crt, "lws": replace(crt, epochs=5), "balanced-softmax-head": crt}


_LARGE_TERMS = RecipeTerms(
    epochs=90,
    batch_size=256,
    initial_learning_rate=0.1,
    peak_learning_rate=0.1,
    weight_decay=5e-4,
)

PROTOCOLS: dict[str, Protocol] = {
    "digits-lt": Protocol(
        image_size=8,
        imbalance_ratio=20.0,
        small=PhaseOneDefaults(
            backbone="resnet8",
            augmentation="crop",
            augmentations=("none", "crop"),  # a mirrored 2 is no 2
            iterations=300,
            batch_size=128,
        ),
    ),
    "cifar10-lt": replace(
        _cifar(
            {
                50.0: (13_996, 5000, 100, (9, 1, 0)),
                100.0: (12_406, 5000, 50, (8, 2, 0)),
                200.0: (11_203, 5000, 25, (7, 3, 0)),
            }
        ),
        tde_alpha=1.0,
        training={"causal-norm": ("alpha=1",)},
    ),
    "cifar100-lt": replace(
        _cifar(
            {
                50.0: (12_608, 500, 10, (41, 41, 18)),
                100.0: (10_847, 500, 5, (35, 35, 30)),
                200.0: (9_502, 500, 2, (30, 31, 39)),
            }
        ),
        tde_alpha=1.5,
        training={"causal-norm": ("alpha=1.5",)},
    ),
    "imagenet-lt": Protocol(
        image_size=224,
        figures={
            None: Figures(
                {"train": 115_846, "tune": 20_000, "test": 50_000}, 1280, 5, (385, 479, 136)
            )
        },
        list_names=_lists("ImageNet_LT"),
        large=replace(OTHER.large, backbone="resnext50_32x4d"),
        recipes=_recipes(_LARGE_TERMS),
        marr=_marr(256, epochs=10),
        retraining={
            **_retraining(0.2, 512, epochs=10),
            # Stated here alone; elsewhere it follows MARR's released code.
            "disalign": SgdTerms(peak_rate=0.1, batch_size=256, epochs=10),
        },
        tde_alpha=3.0,
        training={"causal-norm": ("alpha=3",), "lade": ("alpha=0.05", "lam=0.5")},
    ),
    "places-lt": Protocol(
        image_size=224,
        figures={
            None: Figures({"train": 62_500, "tune": 7_300, "test": 36_500}, 4980, 5, (131, 163, 71))
        },
        list_names=_lists("Places_LT"),
        large=replace(OTHER.large, backbone="resnet152"),
        recipes=_recipes(replace(_LARGE_TERMS, epochs=30, batch_size=128, pretrained=True)),
        marr=_marr(128, epochs=10),
        retraining={
            **_retraining(0.1, 256, epochs=10),
            "balanced-softmax-head": _retraining(0.02, 256, epochs=10)["balanced-softmax-head"],
        },
        tde_alpha=3.0,
        training={"causal-norm": ("alpha=3",), "lade": ("alpha=0.005", "lam=0.1")},
    ),
    "inaturalist2018": Protocol(
        image_size=224,
        figures={None: Figures({"train": 437_513, "test": 24_426}, 1000, 2, (842, 4076, 3224))},
        # There are no public test labels: its val is `test` for everybody.
        list_names={"train": "iNaturalist18_train.txt", "test": "iNaturalist18_val.txt"},
        large=replace(OTHER.large, augmentation="resized-crop-flip", normalisation="inaturalist"),
        recipes=_recipes(replace(_LARGE_TERMS, epochs=200, weight_decay=1e-4)),
        marr=_marr(256, epochs=30),
        retraining=_retraining(0.2, 512, epochs=30),
        tde_alpha=3.0,
        training={
            "causal-norm": ("alpha=3",),
            "class-balanced": ("form=focal", "beta=0.999", "gamma=0.5"),
            "lade": ("alpha=0.05", "lam=0.5"),
            "ldam": ("max_margin=0.3",),
            "ldam-drw": ("max_margin=0.3",),
        },
    ),
    "folder": OTHER,
    "list": OTHER,
}
"""By the names of `names.DATASETS`."""


def protocol_of(dataset: str | None) -> Protocol:
    """A dataset's, by name; `OTHER` for none and for names that no paper has."""
    return PROTOCOLS.get(dataset or "", OTHER)
