"""What is inside a cache or a rectifier file, as a document and as lines to read."""

from pathlib import Path
from typing import Any

from marr_pipeline.cache import CachedSplit, Head, open_cache
from marr_pipeline.groups import shot_groups
from marr_pipeline.rectify.methods import METHODS, heeds
from marr_pipeline.rectify.prior.target import describe_prior
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.rectify.rectifier_file import load_rectifier
from marr_pipeline.workflows.distribution import recorded_prior

Document = dict[str, Any]

_SHOWN_CLASSES = 12
_SHOWN_LEAVES = 60
_SHOWN_CHARACTERS = 70


def inspect(path: Path) -> Document:
    """What a file holds, as JSON values: a rectifier by its suffix `.safetensors`, else a cache.

    Raises:
        CacheError: not a cache, unfinished, damaged or of a newer version.
        DataError: not a rectifier, damaged or of a newer version.
    """
    found = _rectifier_document(path) if path.suffix == ".safetensors" else _cache_document(path)
    return {"command": "inspect", **found}


def describe(document: Document) -> list[str]:
    """The document of `inspect` in lines."""
    return _rectifier_lines(document) if "rectifier" in document else _cache_lines(document)


def _rectifier_document(path: Path) -> Document:
    """Method, tensors and their ranges, and whatever the fit has recorded of itself."""
    rectifier = load_rectifier(path)
    tensors = {"scale": rectifier.scale, "shift": rectifier.shift, **rectifier.own}
    tensors |= {name: getattr(rectifier, name) for name in rectifier.part_names()}
    return {
        "rectifier": path,
        "bytes": path.stat().st_size,
        "method": rectifier.method,
        "num_classes": rectifier.num_classes,
        "num_features": rectifier.num_features,
        "stands_for": describe_prior(rectifier),
        "prior": recorded_prior(rectifier),
        "calibration": _calibration_record(rectifier),
        "tensors": {
            name: {
                "shape": list(tensor.shape),
                "min": float(tensor.min()),
                "max": float(tensor.max()),
                "mean": float(tensor.mean()),
            }
            for name, tensor in tensors.items()
        },
        "metadata": dict(rectifier.metadata),
    }


def _calibration_record(rectifier: Rectifier) -> Document | None:
    known = rectifier.calibration
    if known is None:
        return None
    return {
        "split": known.split,
        "rows": known.num_rows,
        "seen": known.is_seen,
        "scale": float(known.scale),
        "shift": known.shift.tolist(),
        "shares": known.log_prior.exp().tolist(),
    }


def _calibration_line(document: Document) -> str:
    known = document["calibration"]
    if known is None:
        return f"no: {document['metadata'].get('uncalibrated', 'none was stored')}"
    seen = ", which the network was trained on" if known["seen"] else ""
    return (
        f"on {known['rows']:,} rows of split {known['split']}{seen}: scale {known['scale']:.4g}, "
        f"shifts {min(known['shift']):.4g} to {max(known['shift']):.4g}"
    )


def _rectifier_lines(document: Document) -> list[str]:
    width = document["num_features"]
    lines = [
        f"{document['rectifier']}  ({document['bytes']:,} bytes)",
        f"method       {document['method']}: {document['num_classes']} classes"
        + (f", {width:,} features" if width else ""),
        f"stands for   {document['stands_for']}",
        f"calibrated   {_calibration_line(document)}",
    ]
    for name, tensor in document["tensors"].items():
        shape = " x ".join(f"{size:,}" for size in tensor["shape"]) or "1"
        lines.append(
            f"{name:<13}{shape}: {tensor['min']:.4g} to {tensor['max']:.4g}, "
            f"mean {tensor['mean']:.4g}"
        )
    method, said = document["method"], document["metadata"]
    told = {
        key: said[key]
        for key in sorted(said)
        if said[key] is not None and (method not in METHODS or heeds(method, key))
    }
    return lines + _leaf_lines("", told)


def _cache_document(path: Path) -> Document:
    """Shapes, counts, groups and provenance."""
    cached = open_cache(path)
    counts = cached.class_counts
    groups = {name: int(members.sum()) for name, members in shot_groups(counts).items()}
    head = cached.head
    return {
        "cache": path,
        "bytes": path.stat().st_size,
        "num_classes": cached.num_classes,
        "class_counts": counts.tolist(),
        "class_names": cached.class_names,
        "prior_counts": None
        if head is None or head.prior_counts is None
        else head.prior_counts.tolist(),
        "imbalance_ratio": float(counts.max() / counts.min()) if counts.min() else None,
        "groups": groups,
        "splits": {name: _split_document(rows) for name, rows in cached.splits.items()},
        "head": None if head is None else _head_document(head),
        "fingerprint": cached.fingerprint,
        "head_fingerprint": cached.head_fingerprint,
        "attributes": dict(cached.attributes),
        "documents": {key: cached.meta(key) for key in cached.documents if key != "indices"},
    }


def _head_document(head: Head) -> Document:
    return {
        "weight": head.weight is not None,
        "bias": head.bias is not None,
        "weight_norm": {
            "min": float(head.weight_norm.min()),
            "max": float(head.weight_norm.max()),
        },
        "prior_counts": head.prior_counts is not None,
        "normalise": head.normalise,
    }


def _split_document(split: CachedSplit) -> Document:
    arrays = {
        f"splits/{split.name}/{name}": {
            "shape": list(rows.extent.shape),
            "dtype": str(rows.extent.dtype),
        }
        for name, rows in split.stored.items()
    }
    logits = split.stored.get("logits")
    return {
        "samples": split.num_samples,
        "views": list(split.views),
        "logits": None if logits is None else str(logits.extent.dtype),
        "features": split.num_features,
        "ids": split.stored_ids is not None,
        "datasets": arrays,
    }


def _cache_lines(document: Document) -> list[str]:
    groups = document["groups"]
    lines = [
        f"{document['cache']}  ({document['bytes']:,} bytes)",
        f"classes      {document['num_classes']}: {_first(document['class_counts'])}",
        f"groups       many {groups['many']}, medium {groups['medium']}, few {groups['few']}",
    ]
    if document["class_names"]:
        lines.insert(2, f"names        {_first(document['class_names'])}")
    if document["prior_counts"] not in (None, document["class_counts"]):
        lines.insert(-1, f"prior        {_first([f'{n:g}' for n in document['prior_counts']])}")
    for name, split in document["splits"].items():
        views = split["views"]
        kinds = ", ".join(f"{views.count(kind)} {kind}" for kind in dict.fromkeys(views))
        parts = [f"{split['samples']:,} samples"]
        if len(views) > 1:
            parts.append(f"{kinds} views")
        if split["logits"]:
            parts.append(f"logits {split['logits']}")
        if split["features"]:
            parts.append(f"features of {split['features']}")
        if split["ids"]:
            parts.append("ids")
        lines.append(f"{name:<13}{'; '.join(parts)}")
    lines.append(f"head         {_head_line(document['head'])}")
    for split in document["splits"].values():
        for path, rows in split["datasets"].items():
            shape = " x ".join(f"{size:,}" for size in rows["shape"])
            source = f'h5py.File("{document["cache"]}")["{path}"]'
            lines.append(f"read         {source}  {shape} {rows['dtype']}")
    lines += [f"{key:<18}{value}" for key, value in sorted(document["attributes"].items())]
    for key, value in document["documents"].items():
        lines += _leaf_lines(key, value)
    return lines


def _head_line(head: Document | None) -> str:
    if head is None:
        return "none: features alone, on which rectify fits one"
    norm = head["weight_norm"]
    has = [name for name in ("weight", "bias", "prior_counts") if head[name]]
    unit = "; features divided by their norms" if head["normalise"] == "unit" else ""
    return (
        f"weight norm {norm['min']:.3f} to {norm['max']:.3f}; "
        f"{', '.join(has) or 'nothing else'} stored{unit}"
    )


def _first(values: list[Any]) -> str:
    """The first values of a list that may be long."""
    more = ", ..." if len(values) > _SHOWN_CLASSES else ""
    return ", ".join(map(str, values[:_SHOWN_CLASSES])) + more


def _leaf_lines(key: str, value: object) -> list[str]:
    """`key.name = value` of every leaf, up to a number that can be read."""
    leaves = _leaves(value, key)
    lines = [f"{name} = {item}" for name, item in leaves[:_SHOWN_LEAVES]]
    if len(leaves) > _SHOWN_LEAVES:
        lines.append(f"{key}: {len(leaves) - _SHOWN_LEAVES:,} more values; --json shows all")
    return lines


def _leaves(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        text = str(value)
        is_short = len(text) <= _SHOWN_CHARACTERS
        return [(prefix, text if is_short else text[: _SHOWN_CHARACTERS - 3] + "...")]
    found = []
    for key, item in value.items():
        found += _leaves(item, f"{prefix}.{key}" if prefix else key)
    return found
