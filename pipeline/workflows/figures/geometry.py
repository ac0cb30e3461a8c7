"""Hyperplanes of two classes before and after rectification (Figure 2)."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from marr_pipeline.cache import CacheError
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.plots.class_axis import ClassAxis
from marr_pipeline.plots.geometry import PlaneHead, draw_geometry, plane_basis
from marr_pipeline.plots.save import Drawing
from marr_pipeline.plots.style import Width
from marr_pipeline.rectify.rectifier import HeadRectifier
from marr_pipeline.rectify.rows.source import FeatureRows

if TYPE_CHECKING:
    from marr_pipeline.workflows.evaluate import Evaluation

PLANE_AXES = ("along the difference of both rows of W", "across it, in their plane")


def geometry(
    axis: ClassAxis, evaluation: "Evaluation", width: Width, *, classes: str | None = None
) -> Drawing:
    """Samples and hyperplanes of two classes in the plane of their rows (Figure 2).

    Raises:
        CacheError: the cache lacks features or the head's weight.
        ConfigError: no such classes, or one without samples.
        DataError: a rectifier whose hyperplanes are not in that plane.
    """
    cached, rows = evaluation.cached, evaluation.rows
    weight, bias = (None, None) if cached.head is None else (cached.head.weight, cached.head.bias)
    if rows.features is None or weight is None:
        missing = "features" if rows.features is None else "the head's weight"
        raise CacheError(
            f"{cached.path}: features and the head's weight expected for geometry, got a cache "
            f"without {missing}; put both into it"
        )
    labels = rows.labels.numpy()
    pair = list(_class_pair(axis, np.bincount(labels, minlength=axis.num_classes), classes))
    is_own = np.isin(labels, pair)
    unit = cached.head is not None and cached.head.normalise == "unit"
    own = FeatureRows(rows.features, unit=unit).block(torch.from_numpy(is_own).nonzero()[:, 0])
    features = own.double().numpy()
    basis = plane_basis(weight[pair].astype(np.float64), features)
    own_bias = np.zeros(2) if bias is None else bias[pair].astype(np.float64)
    heads = {}
    for name, rectifier in evaluation.rectifiers.items():
        own_weight, constant = weight[pair], own_bias
        if isinstance(rectifier, HeadRectifier) and rectifier.num_features == 2:
            own_weight, constant = rectifier.weight[pair].numpy(), rectifier.bias[pair].numpy()
        elif rectifier.num_features is not None:
            raise DataError(
                f"geometry: rectifiers of scales and shifts expected in {weight.shape[1]} "
                f"features, got {name}, whose hyperplanes leave the plane; leave it out"
            )
        scale, shift = (part[pair].numpy() for part in (rectifier.scale, rectifier.centred().shift))
        norm = rectifier.margin_norm(torch.from_numpy(rows.weight_norm))[pair].numpy()
        heads[name] = PlaneHead(
            weight=scale[:, None] * (own_weight @ basis),
            bias=scale * constant + shift,
            margin_norm=np.where(norm > 0, norm, np.nan),
        )
    shown = [axis.names[each] or f"class {each}" for each in pair]
    is_plane = weight.shape[1] == 2
    return draw_geometry(
        features @ basis,
        (labels[is_own] == pair[1]).astype(np.int64),
        heads,
        classes=(pair[0], pair[1]),
        names=(shown[0], shown[1]),
        axis_labels=("feature 1", "feature 2") if is_plane else PLANE_AXES,
        width=width,
    )


def _class_pair(
    axis: ClassAxis, samples: npt.NDArray[np.int64], said: str | None
) -> tuple[int, int]:
    """The ids of `A,B`, names or ids; None for the commonest and the rarest that have samples."""
    present = [int(each) for each in axis.order if samples[each]]
    if said is None and len(present) > 1:
        return present[0], present[-1]
    known = {str(each): each for each in range(axis.num_classes)}
    known |= {name: each for each, name in enumerate(axis.names) if name}
    pair = [known.get(word.strip(), -1) for word in (said or "").split(",")]
    if len(set(pair)) != 2 or len(pair) != 2 or not set(pair) <= set(present):
        raise ConfigError(
            f"--classes: two classes with samples in the split, names or ids such as 0,1, "
            f"expected, got {said or f'{len(present)} with samples'}"
        )
    return pair[0], pair[1]
