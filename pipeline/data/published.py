"""Published figures of the benchmarks, which a user's files are held against.

Training counts of CIFAR-LT are computed (`longtail`), so only files can differ; the others come
as list files of which several versions are about. Groups are many (> 100), medium, few (< 20).
Sources: Liu et al. (2019) for ImageNet-LT and Places-LT, Van Horn et al. (2018) for iNaturalist,
Cui et al. (2019) and Cao et al. (2019) for CIFAR; group sizes counted from the released lists.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from marr_pipeline.groups import shot_groups


@dataclass(frozen=True, kw_only=True)
class PublishedFigures:
    """What a benchmark's paper says.

    Attributes:
        num_classes: K.
        images: number of images of each split that it has.
        largest: training images of the largest class.
        smallest: of the smallest.
        groups: number of many-, medium- and few-shot classes.
    """

    num_classes: int
    images: Mapping[str, int]
    largest: int
    smallest: int
    groups: tuple[int, int, int]


def _cifar(
    num_classes: int, train: int, largest: int, smallest: int, groups: tuple[int, int, int]
) -> PublishedFigures:
    return PublishedFigures(
        num_classes=num_classes,
        images={"train": train, "test": 10_000},
        largest=largest,
        smallest=smallest,
        groups=groups,
    )


PUBLISHED: dict[tuple[str, float | None], PublishedFigures] = {
    ("cifar10-lt", 50.0): _cifar(10, 13_996, 5000, 100, (9, 1, 0)),
    ("cifar10-lt", 100.0): _cifar(10, 12_406, 5000, 50, (8, 2, 0)),
    ("cifar10-lt", 200.0): _cifar(10, 11_203, 5000, 25, (7, 3, 0)),
    ("cifar100-lt", 50.0): _cifar(100, 12_608, 500, 10, (41, 41, 18)),
    ("cifar100-lt", 100.0): _cifar(100, 10_847, 500, 5, (35, 35, 30)),
    ("cifar100-lt", 200.0): _cifar(100, 9_502, 500, 2, (30, 31, 39)),
    ("imagenet-lt", None): PublishedFigures(
        num_classes=1000,
        images={"train": 115_846, "tune": 20_000, "test": 50_000},
        largest=1280,
        smallest=5,
        groups=(385, 479, 136),
    ),
    ("places-lt", None): PublishedFigures(
        num_classes=365,
        images={"train": 62_500, "tune": 7_300, "test": 36_500},
        largest=4980,
        smallest=5,
        groups=(131, 163, 71),
    ),
    ("inaturalist2018", None): PublishedFigures(
        num_classes=8142,
        images={"train": 437_513, "test": 24_426},
        largest=1000,
        smallest=2,
        groups=(842, 4076, 3224),
    ),
}
"""By dataset and imbalance ratio; None where the images are taken as they are."""


def differences_from_published(
    figures: PublishedFigures,
    *,
    class_counts: npt.NDArray[np.int64],
    split_sizes: Mapping[str, int],
) -> list[str]:
    """One phrase for each figure that differs, such as `train 115,845 images, published 115,846`.

    Args:
        figures: the published ones.
        class_counts: (K,) training images per class.
        split_sizes: images of every split that is there.
    """
    groups = tuple(int(members.sum()) for members in shot_groups(class_counts).values())
    compared: list[tuple[str, object, object]] = [
        ("classes", len(class_counts), figures.num_classes),
        ("largest class", int(class_counts.max()), figures.largest),
        ("smallest class", int(class_counts.min()), figures.smallest),
        ("many/medium/few classes", groups, figures.groups),
    ]
    for split in (*figures.images, *(split_sizes.keys() - figures.images.keys())):
        if split in split_sizes:
            compared.append((f"{split} images", split_sizes[split], figures.images.get(split)))
    return [
        f"{name} {_text(actual)}, published {_text(published)}"
        for name, actual, published in compared
        if actual != published
    ]


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return "/".join(map(str, value))
    return "none" if value is None else f"{value:,}"
