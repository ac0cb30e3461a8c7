"""The rectifier file: what `pipeline rectify -o` writes; see docs/rectifier-format.md.

K classes, D features. Every file has `scale` and `shift`; what it has beside them says how they are
used. All that later code takes for granted is checked here, where a file is read.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.files import RECTIFIER, FileName, replacing
from marr_pipeline.names import FEATURE_NORMALISATIONS
from marr_pipeline.reading import check_form, reading
from marr_pipeline.rectify.rectifier import (
    CALIBRATED,
    Calibration,
    ConfidenceRectifier,
    HeadRectifier,
    Rectifier,
)
from marr_pipeline.state_dict import not_finite
from marr_pipeline.tensor_file import read_safetensors, safetensors_header, write_tensor_file

FORMAT = "marr-rectifier"
FORMAT_VERSION = "1.2"
KINDS: tuple[type[Rectifier], ...] = (ConfidenceRectifier, HeadRectifier, Rectifier)
"""A file is of the first kind whose tensors it has."""
SHAPES = {
    "scale": "K",
    "shift": "K",
    "weight": "KD",
    "bias": "K",
    "log_prior": "K",
    "calibration_scale": "",
    "calibration_shift": "K",
    "calibration_log_prior": "K",
    "confidence_weight": "D",
    "confidence_bias": "1",
}
"""Of the tensors that rectified logits are made of; others are the method's own."""
_NONE, _NUMBER, _TEXT = type(None), (int, float, type(None)), (str, type(None))
METADATA = {
    "method": str,
    "class_names?": ([str], _NONE),
    "class_counts?": ([int], _NONE),
    "classes?": [(str, int, float, bool)],
    "columns?": [str],
    "features?": {"backbone?": str, "weights?": str, "columns?": [str]},
    "calibration?": {"split": str, "rows": int, "seen?": bool},
    "uncalibrated?": _TEXT,
    "tuning?": (dict, _NONE),
    "scores?": str,
    "gamma?": _NUMBER,
    "loss?": _NUMBER,
    "preset?": _TEXT,
    "fit_split?": _TEXT,
    "head_fingerprint?": _TEXT,
    "cache_fingerprint?": _TEXT,
}
"""The form of what later code takes for granted in a header; the rest is only shown."""
_OF_CLASSES = ("class_names", "class_counts", "classes")


def save_rectifier(rectifier: Rectifier, path: Path, *, overwrite: bool = False) -> None:
    """Write a `.safetensors` file, complete or not at all.

    Args:
        rectifier: to be written.
        path: of the file.
        overwrite: replace whatever file is there, not a rectifier alone.

    Raises:
        ConfigError: a rectifier that is a function.
        PipelineError: something else is there, or it cannot be written.
    """
    if type(rectifier) not in KINDS:
        raise ConfigError(
            f"{path}: a method that gives scale and shift or a head expected, got "
            f"{rectifier.method}, which gives a function that no file can hold; compare scores it"
        )
    header = {"format": FORMAT, "format_version": FORMAT_VERSION}
    stored = dict(rectifier.metadata)
    if isinstance(rectifier, HeadRectifier) and rectifier.normalise == "unit":
        stored["normalise"] = rectifier.normalise
    if rectifier.calibration is not None:
        known = rectifier.calibration
        stored["calibration"] = {
            "split": known.split,
            "rows": known.num_rows,
            "seen": known.is_seen,
        }
    header |= {key: json.dumps(value) for key, value in stored.items()}
    with replacing(path, RECTIFIER, overwrite=overwrite) as partial:
        write_tensor_file(partial, rectifier.tensors(), header=header)


def is_rectifier(path: Path) -> bool:
    """Whether a file is one that `save_rectifier` wrote; false of one that is none at all."""
    try:
        return safetensors_header(path).get("format") == FORMAT
    except (SafetensorError, OSError):
        return False


def load_rectifier(path: FileName) -> Rectifier:
    """Read what `save_rectifier` wrote.

    Raises:
        DataError: not a rectifier, of a newer major version, or damaged.
    """
    path = Path(path)
    with reading(path, "a rectifier written by `pipeline rectify -o`", "copy it again"):
        tensors, header = read_safetensors(path)
    if header.pop("format", None) != FORMAT:
        raise DataError(
            f"{path}: a rectifier written by `pipeline rectify -o` expected, "
            f"got a safetensors file with {', '.join(sorted(tensors)) or 'nothing'}"
        )
    version = header.pop("format_version", "none")
    if version.split(".")[0] != FORMAT_VERSION.split(".")[0]:
        raise DataError(
            f"{path}: format version {FORMAT_VERSION} expected, got {version}; "
            "update this program or fit again"
        )
    metadata = _read_metadata(header, path)
    kind = next(kind for kind in KINDS if tensors.keys() >= set(kind.part_names()))
    of_calibration = tuple(f"calibration_{name}" for name in CALIBRATED)
    if not tensors.keys() & set(of_calibration):
        of_calibration = ()
    names = ("scale", "shift", *kind.part_names(), *tensors.keys() & {"log_prior"})
    _check_tensors(tensors, (*names, *of_calibration), path)
    _check_lengths(metadata, len(tensors["scale"]), path)
    parts: dict[str, Any] = {name: tensors.pop(name) for name in names}
    if of_calibration:
        found = [tensors.pop(name) for name in of_calibration]
        parts["calibration"] = _calibration(found, metadata.pop("calibration", None), path)
    if kind is HeadRectifier and metadata.get("normalise") == "unit":
        parts["normalise"] = "unit"
    return kind(**parts, own=tensors, metadata=metadata)


def _calibration(tensors: list[Tensor], record: object, path: Path) -> Calibration:
    if not isinstance(record, dict):
        raise DataError(
            f"{path}: split and rows of its calibration expected in the header, got {record}; fit "
            "again"
        )
    split = str(record["split"])
    return Calibration(
        **dict(zip(CALIBRATED, tensors, strict=True)),
        split=split,
        num_rows=int(record["rows"]),
        is_seen=bool(record.get("seen", split == "train")),  # the first files of 1.2 lack it
    )


def _read_metadata(header: Mapping[str, str], path: Path) -> dict[str, Any]:
    metadata = {}
    for key, value in header.items():
        try:
            metadata[key] = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}: JSON expected under {key} in the header, got {value[:40]!r}; fit again"
            ) from error
    normalise = metadata.get("normalise", "none")
    if normalise not in FEATURE_NORMALISATIONS:
        raise DataError(
            f"{path}: normalise as one of {', '.join(FEATURE_NORMALISATIONS)} expected in the "
            f"header, got {normalise}; update this program or fit again"
        )
    check_form(metadata, METADATA, where=f"{path}: header", remedy="fit again")
    return metadata


def _check_lengths(metadata: Mapping[str, Any], num_classes: int, path: Path) -> None:
    for key in _OF_CLASSES:
        known = metadata.get(key)
        if known is not None and len(known) != num_classes:
            raise DataError(
                f"{path}: header: {key} of {num_classes} classes, as its scale has, expected, got "
                f"{len(known)}; fit again"
            )


def _check_tensors(tensors: Mapping[str, Tensor], names: tuple[str, ...], path: Path) -> None:
    """Raise a DataError unless `names` are there, of shapes that agree, and all finite float64."""
    missing = [name for name in names if name not in tensors]
    if missing:
        raise DataError(
            f"{path}: tensors {', '.join(names)} expected, got none named {', '.join(missing)}; "
            "fit again"
        )
    widths = {"1": 1}
    for name in names:
        shape, axes = tuple(tensors[name].shape), SHAPES[name]
        agrees = len(shape) == len(axes) and all(
            widths.setdefault(axis, size) == size for axis, size in zip(axes, shape, strict=True)
        )
        if not agrees or 0 in shape:
            expected = ", ".join(str(widths.get(axis, axis)) for axis in axes)
            raise DataError(
                f"{path}: {name} of shape ({expected}) expected, got {shape}; fit again"
            )
    other = [name for name, tensor in tensors.items() if tensor.dtype != torch.float64]
    if other:
        raise DataError(f"{path}: float64 expected, got others in {', '.join(other)}; fit again")
    broken = not_finite(tensors)
    if broken:
        raise DataError(
            f"{path}: finite numbers expected, got others in {', '.join(broken)}; fit again"
        )
