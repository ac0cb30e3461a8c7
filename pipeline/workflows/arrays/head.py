"""The head of an import: weight and bias, or norms, and counts, from the files that users have.

N samples, K classes, D features. A wrong head is the costliest mistake of an import: the fit would
run, and its margins would be another model's. So it is compared with the logits where features
allow it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from marr_pipeline import cache
from marr_pipeline.errors import DataError
from marr_pipeline.reading import reading
from marr_pipeline.rectify.inputs import GivenHead
from marr_pipeline.rectify.rectifier import HeadRectifier
from marr_pipeline.rectify.rectifier_file import is_rectifier, load_rectifier
from marr_pipeline.state_dict import heads, listed, named_tensors, not_finite, preferred
from marr_pipeline.tensor_file import read_tensor_file
from marr_pipeline.workflows.arrays import map_npy, read_npz, read_tensors

HEAD_ARRAYS = (
    "weight",
    "bias",
    "weight_norm",
    "class_counts",
    "prior_counts",
    "log_prior",
    "class_names",
    "normalise",
)
_GROUP = "head/"
# Norms that were computed in float32 from a float16 weight agree with ours within this.
_NORM_TOLERANCE = 1e-3
# Of the logits' size. bfloat16 arithmetic differs by 0.3 %, another head by tens of percent.
_TOLERANCE = 0.02
_CHECKED_ROWS = 128
_TINY = float(np.finfo(np.float32).tiny)  # in place of a size of 0

_Matrix = npt.NDArray[np.float64]


def read_head(path: Path) -> tuple[dict[str, npt.NDArray[Any]], Mapping[str, Any]]:
    """Arrays named in `HEAD_ARRAYS` of an `.npz`, `.safetensors` or torch file.

    In a single file for everything they carry `head/`. Where neither `weight` nor `weight_norm` is
    among them, `network_head` looks for the weight. A rectifier that is a whole head has one.

    Returns:
        The arrays, and of a rectifier the record of its fit; else an empty one.

    Raises:
        DataError: unreadable, it holds objects, or it is a rectifier of another kind.
    """
    if path.suffix == ".safetensors" and is_rectifier(path):
        return _rectifier_head(path)
    arrays = read_npz(path) if path.suffix == ".npz" else read_tensors(path)
    named = {name.removeprefix(_GROUP): array for name, array in arrays.items()}
    return {name: named[name] for name in HEAD_ARRAYS if name in named}, {}


def _rectifier_head(path: Path) -> tuple[dict[str, npt.NDArray[Any]], Mapping[str, Any]]:
    """The head that a rectifier's file is, and the record of its fit."""
    rectifier = load_rectifier(path)
    if not isinstance(rectifier, HeadRectifier):
        raise DataError(
            f"{path}: a rectifier that is a whole head expected, got {rectifier.method}, which is "
            "made for the logits of another; give that head"
        )
    arrays = head_arrays(rectifier)
    if rectifier.metadata.get("class_names") is not None:
        arrays["class_names"] = np.array(rectifier.metadata["class_names"])
    return arrays, rectifier.metadata


def head_arrays(rectifier: HeadRectifier) -> dict[str, npt.NDArray[Any]]:
    """The arrays of the head that a rectifier is, its scale and shift folded in."""
    prior = rectifier.log_prior
    return {
        "weight": (rectifier.scale[:, None] * rectifier.weight).numpy(),
        "bias": (rectifier.scale * rectifier.bias + rectifier.shift).numpy(),
        "normalise": np.array(rectifier.normalise),
        **({} if prior is None else {"log_prior": prior.numpy()}),
    }


def network_head(
    path: Path, *, num_classes: int, num_features: int | None, weights: str | None = None
) -> tuple[dict[str, npt.NDArray[Any]], list[str]]:
    """`weight` (K, D) and, if there, `bias` (K,) of a network's state dict, and what was chosen.

    The one matrix of that shape called weight is the head, whatever it is packed in.

    Args:
        path: an `.npz`, `.safetensors` or torch file.
        num_classes: K; where no matrix has as many rows, one of another number is taken.
        num_features: D, if it is known.
        weights: as `named_tensors` takes it.

    Raises:
        ConfigError: no such key.
        DataError: no such matrix, or several that are not one layer's.
    """
    where = str(path)
    content: object = (
        read_tensor_file(path)
        if path.suffix != ".npz"
        else {
            name: torch.from_numpy(array)
            for name, array in read_npz(path).items()
            if array.dtype.kind in "fiu"
        }
    )
    tensors = named_tensors(content, where=where, weights=weights)
    shapes = {name: value.shape for name, value in tensors.items()}
    found = heads(shapes, num_classes=num_classes, num_features=num_features)
    found = preferred(found or heads(shapes, num_classes=None))
    if len({tuple(name.split(".")[-2:]) for name in found}) != 1:
        raise DataError(
            f"{where}: an array 'weight' (K, D) or 'weight_norm' (K,) expected, got "
            f"{listed(found or sorted(tensors))}; rename the head's"
        )
    taken, *left = found
    bias = tensors.get(taken.removesuffix("weight") + "bias")
    notes = (
        [f"{where}: {taken} is taken and {listed(left)} left; --weights chooses"] if left else []
    )
    with reading(path, "a head of plain tensors", "save it dense"):
        arrays = {"weight": tensors[taken].flatten(1), **({} if bias is None else {"bias": bias})}
        return {
            name: (value.float() if value.dtype is torch.bfloat16 else value).detach().numpy()
            for name, value in arrays.items()
        }, notes


def build_head(
    given: Mapping[str, npt.NDArray[Any]], *, num_classes: int, where: str
) -> cache.Head:
    """The head of K classes that the arrays of `read_head` describe.

    Raises:
        DataError: shapes or values that no head has, or that contradict each other or the logits.
    """
    normalise = str(given.get("normalise", "none"))
    for name, array in given.items():
        if name == "normalise":
            continue
        if array.ndim == 0 or len(array) != num_classes:
            raise DataError(
                f"{where}: {name} of {num_classes} classes expected, as in the logits, got shape "
                f"{array.shape}; are head and logits of the same model?"
            )
        if name != "class_names" and array.dtype.kind not in "fiu":
            raise DataError(f"{where}: {name} as numbers expected, got {array.dtype}; convert it")
    bias, prior, norms = (given.get(name) for name in ("bias", "prior_counts", "weight_norm"))
    norms = None if norms is None else norms.astype(np.float64)
    try:
        if "weight" not in given:
            assert norms is not None  # `read_head` asks for one of the two
            if bias is not None and bias.dtype != np.float64:
                bias = bias.astype(np.float32)
            return cache.Head(
                weight_norm=norms,
                bias=bias,
                prior_counts=None if prior is None else prior.astype(np.float64),
            )
        head = cache.Head.from_linear(
            given["weight"],
            bias,
            prior_counts=prior,
            normalise=cast("cache.Normalisation", normalise),  # which the head checks
        )
    except cache.CacheError as error:
        raise DataError(f"{where}: {error}") from error
    if norms is not None and not np.allclose(norms, head.weight_norm, rtol=_NORM_TOLERANCE):
        row = int(np.abs(norms - head.weight_norm).argmax())
        raise DataError(
            f"{where}: weight_norm = norm of each row of weight expected, got {norms[row]:.6g} "
            f"instead of {head.weight_norm[row]:.6g} for class {row}; leave one of the two out"
        )
    return head


def class_counts(
    given: Mapping[str, npt.NDArray[Any]],
    labels: npt.NDArray[np.int64],
    *,
    num_classes: int,
    where: str,
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Training images per class (K,), and what of them needs a look.

    Args:
        given: arrays of `read_head`; without `class_counts` the labels are counted.
        labels: (N,) of the train split.
        num_classes: K.
        where: how errors name the head's file.

    Raises:
        DataError: not K whole numbers, or a class has rows but no images.
    """
    rows = np.bincount(labels, minlength=num_classes)
    if "class_counts" not in given:
        return rows, []
    stored = given["class_counts"]
    is_count = np.isfinite(stored) & (stored >= 0) & (stored == np.floor(stored))
    if not is_count.all():
        raise DataError(
            f"{where}: class_counts as whole numbers of at least 0 expected, got "
            f"{stored[~is_count][0]}; count the training samples"
        )
    counts = stored.astype(np.int64)
    is_impossible = (counts == 0) & (rows > 0)
    if is_impossible.any():
        row = int(is_impossible.argmax())
        raise DataError(
            f"{where}: class_counts of at least 1 for every class in train expected, got 0 for "
            f"class {row}, which has {rows[row]} rows; are counts and labels in one class order?"
        )
    if np.array_equal(counts, rows):
        return counts, []
    row = int((counts != rows).argmax())
    return counts, [
        f"class_counts of {where} are not the labels' of train (class {row}: {counts[row]:,} "
        f"given, {rows[row]:,} rows); those given are kept"
    ]


def check_head_makes_logits(head: cache.Head, arrays: cache.SplitArrays, *, where: str) -> None:
    """Compare logits with features @ weight.T + bias on rows spread over each view.

    Without features or a weight there is nothing to compare.

    Args:
        head: of K classes.
        arrays: the rows of a split, K classes.
        where: how the error names the split.

    Raises:
        DataError: they differ by more than rounding; it says how.
    """
    if head.weight is None or arrays.features is None:
        return
    num_samples, num_features = arrays.features.shape[1:]
    if num_features != head.num_features:
        raise DataError(
            f"{where}: features as wide as the head's weight ({head.num_features}) expected, got "
            f"{num_features}; give the input of the head"
        )
    if arrays.logits is None:
        return
    rows = np.unique(np.linspace(0, num_samples - 1, _CHECKED_ROWS).astype(np.int64))
    weight = head.weight.astype(np.float64)
    for logits, features in zip(arrays.logits, arrays.features, strict=True):
        given = logits[rows].astype(np.float64)
        taken = features[rows].astype(np.float64)
        if head.normalise == "unit":
            taken /= np.maximum(np.linalg.norm(taken, axis=1, keepdims=True), _TINY)
        linear = taken @ weight.T
        made = linear if head.bias is None else linear + head.bias
        tolerance = _TOLERANCE * max(_rms(given), _TINY)
        if _rms(given - made) > tolerance:
            row, column = np.unravel_index(np.abs(given - made).argmax(), made.shape)
            raise DataError(
                f"{where}: logits = features @ weight.T + bias expected, got "
                f"{given[row, column]:.5g} instead of {made[row, column]:.5g} in row {rows[row]}, "
                f"class {column}; {_difference(given, linear, head, tolerance)}"
            )


def _difference(given: _Matrix, linear: _Matrix, head: cache.Head, tolerance: float) -> str:
    """What would explain the logits (N, K) from features @ weight.T, in words."""
    rest = given - linear
    if _rms(rest) <= tolerance:
        return "they are made without the bias: leave it out, or give the logits with it"
    if _rms(rest - rest.mean(axis=0)) <= tolerance:
        given_bias = "lacks" if head.bias is None else "has another one"
        return f"a bias for each class explains them, but the head {given_bias}: give their own"
    made = linear if head.bias is None else linear + head.bias
    scale = float((given * made).sum()) / max(float((made * made).sum()), _TINY)
    if _rms(given - scale * made) <= tolerance:
        return f"they are {scale:.3g} times as large: give weight and bias that are scaled alike"
    order = _class_order(given, made, tolerance)
    if order is not None:
        column = int(np.flatnonzero(order != np.arange(len(order)))[0])
        return (
            f"the classes are in another order (class {column} of the logits is class "
            f"{order[column]} of the head): give both in one order"
        )
    return "they are of another model, or the features are not the head's input"


def _class_order(given: _Matrix, made: _Matrix, tolerance: float) -> npt.NDArray[np.intp] | None:
    """The head's class for each column of the logits, if its classes in that order make them."""
    one, other = (values - values.mean(axis=0) for values in (given, made))
    norms = np.linalg.norm(one, axis=0)[:, None] * np.linalg.norm(other, axis=0)
    order = (one.T @ other / np.maximum(norms, _TINY)).argmax(axis=1)
    return order if _rms(given - made[:, order]) <= tolerance else None


def _rms(values: _Matrix) -> float:
    return float(np.sqrt(np.mean(values * values)))


def read_center(path: Path, num_classes: int, num_features: int | None) -> GivenHead:
    """A matrix (K, D), such as text embeddings of class names, or a head with its bias.

    An `.npy` file is a matrix. Others hold `weight` and perhaps `bias`, `log_prior` and
    `normalise`; the rectifier of a whole head holds all of them.

    Raises:
        DataError: unreadable, no such matrix, or one of other classes or features.
    """
    arrays = {"weight": map_npy(path)} if path.suffix == ".npy" else read_head(path)[0]
    weight = arrays.get("weight")
    if weight is None or weight.ndim != 2 or len(weight) != num_classes:
        found = "none" if weight is None else f"shape {weight.shape}"
        raise DataError(
            f"{path}: a matrix `weight` of {num_classes} rows, one a class, expected as centre, "
            f"got {found}; give class embeddings as .npy, or a head"
        )
    for name in {"weight", "bias", "log_prior"} & arrays.keys():
        if arrays[name].dtype.kind not in "biuf":
            raise DataError(
                f"{path}: numbers expected in {name}, got {arrays[name].dtype}; give class "
                "embeddings as a matrix of floating-point numbers"
            )
    if num_features not in (None, weight.shape[1]):
        raise DataError(
            f"{path}: a matrix of {num_features} columns, one a feature, expected as centre, got "
            f"{weight.shape[1]}; is it of the backbone that made the features?"
        )
    numbers: dict[str, torch.Tensor] = {
        name: torch.from_numpy(arrays[name].astype(np.float64))
        for name in ("weight", "bias", "log_prior")
        if name in arrays
    }
    broken = not_finite(numbers)
    if broken:
        raise DataError(f"{path}: finite numbers expected in {broken[0]}, got others")
    return GivenHead(**numbers, normalise=str(arrays.get("normalise", "none")))
