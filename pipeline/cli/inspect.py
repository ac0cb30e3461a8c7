"""`pipeline inspect`: what is inside a cache."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marr_pipeline.cli.command import command, print_json
from marr_pipeline.cli.options import input_type, json_option

if TYPE_CHECKING:
    from marr_pipeline.cache import Split

_SHOWN_CLASSES = 12
_SHOWN_LEAVES = 60
_SHOWN_CHARACTERS = 70


def inspect_cache(path: Path) -> dict[str, Any]:
    """Shapes, counts, groups and provenance of a cache, as JSON values.

    Raises:
        CacheError: not a cache, unfinished, damaged or of a newer version.
    """
    from marr_pipeline.cache import open_cache
    from marr_pipeline.groups import shot_groups

    cached = open_cache(path)
    counts = cached.class_counts
    groups = {name: int(members.sum()) for name, members in shot_groups(counts).items()}
    norms = cached.head.weight_norm
    return {
        "cache": path,
        "bytes": path.stat().st_size,
        "num_classes": cached.num_classes,
        "class_counts": counts.tolist(),
        "class_names": cached.class_names,
        "imbalance_ratio": float(counts.max() / counts.min()) if counts.min() else None,
        "groups": groups,
        "splits": {name: _split_document(rows) for name, rows in cached.splits.items()},
        "head": {
            "weight": cached.head.weight is not None,
            "bias": cached.head.bias is not None,
            "weight_norm": {"min": float(norms.min()), "max": float(norms.max())},
            "prior_counts": cached.head.prior_counts is not None,
        },
        "fingerprint": cached.fingerprint,
        "head_fingerprint": cached.head_fingerprint,
        "attributes": dict(cached.attributes),
        "documents": {key: cached.meta(key) for key in cached.meta_keys if key != "indices"},
    }


def _split_document(split: "Split") -> dict[str, Any]:
    stored = {"logits": split.logits, "features": split.features}
    return {
        "samples": split.num_samples,
        "views": list(split.views),
        "logits": None if split.logits is None else str(split.logits.dtype),
        "features": None if split.features is None else split.features.shape[2],
        "ids": split.ids is not None,
        "datasets": {
            # As in the file, where a single view has no axis of its own.
            f"splits/{split.name}/{name}": {
                "shape": list(rows.shape[len(rows) == 1 :]),
                "dtype": str(rows.dtype),
            }
            for name, rows in stored.items()
            if rows is not None
        },
    }


@command("inspect")
@click.argument("cache", type=input_type)
@json_option
def cli_command(cache: Path, as_json: bool) -> None:
    """Show what is inside CACHE: splits, counts, groups, head and provenance."""
    document = inspect_cache(cache)
    if as_json:
        print_json({"command": "inspect", **document})
        return
    for line in _lines(document):
        click.echo(line)


def _lines(document: dict[str, Any]) -> list[str]:
    groups = document["groups"]
    lines = [
        f"{document['cache']}  ({document['bytes']:,} bytes)",
        f"classes      {document['num_classes']}: {_first(document['class_counts'])}",
        f"groups       many {groups['many']}, medium {groups['medium']}, few {groups['few']}",
    ]
    if document["class_names"]:
        lines.insert(2, f"names        {_first(document['class_names'])}")
    for name, split in document["splits"].items():
        views = split["views"]
        kinds = ", ".join(f"{views.count(kind)} {kind}" for kind in dict.fromkeys(views))
        parts = [f"{split['samples']:,} samples", f"{kinds} view{'s' * (len(views) > 1)}"]
        if split["logits"]:
            parts.append(f"logits {split['logits']}")
        if split["features"]:
            parts.append(f"features of {split['features']}")
        if split["ids"]:
            parts.append("ids")
        lines.append(f"{name:<13}{'; '.join(parts)}")
    norm = document["head"]["weight_norm"]
    has = [name for name in ("weight", "bias", "prior_counts") if document["head"][name]]
    lines.append(
        f"head         weight norm {norm['min']:.3f} to {norm['max']:.3f}; "
        f"{', '.join(has) or 'nothing else'} stored"
    )
    for split in document["splits"].values():
        for path, rows in split["datasets"].items():
            shape = " x ".join(f"{size:,}" for size in rows["shape"])
            source = f'h5py.File("{document["cache"]}")["{path}"]'
            lines.append(f"read         {source}  {shape} {rows['dtype']}")
    lines += [f"{key:<18}{value}" for key, value in sorted(document["attributes"].items())]
    for key, value in document["documents"].items():
        leaves = _leaves(value)
        lines += [f"{key}.{name} = {item}" for name, item in leaves[:_SHOWN_LEAVES]]
        if len(leaves) > _SHOWN_LEAVES:
            lines.append(f"{key}: {len(leaves) - _SHOWN_LEAVES:,} more values; --json shows all")
    return lines


def _first(values: list[Any]) -> str:
    """The first values of a list that may be long."""
    more = ", ..." if len(values) > _SHOWN_CLASSES else ""
    return ", ".join(map(str, values[:_SHOWN_CLASSES])) + more


def _leaves(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        text = str(value)
        is_short = len(text) <= _SHOWN_CHARACTERS
        return [(prefix, text if is_short else text[: _SHOWN_CHARACTERS - 3] + "...")]
    found = []
    for key, item in value.items():
        found += _leaves(item, f"{prefix}.{key}" if prefix else key)
    return found
