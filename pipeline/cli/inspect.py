"""`pipeline inspect`: what is inside a cache."""

from pathlib import Path
from typing import Any

import click

from pipeline.cli.command import command, json_option, print_json


def inspect_cache(path: Path) -> dict[str, Any]:
    """Shapes, counts, groups and provenance of a cache, as JSON values.

    Raises:
        CacheError: not a cache, unfinished, damaged or of a newer version.
    """
    from cache import open_cache
    from pipeline.groups import shot_groups

    cached = open_cache(path)
    counts = cached.class_counts
    groups = {name: int(members.sum()) for name, members in shot_groups(counts).items()}
    splits = {}
    for name in cached.split_names:
        rows = cached.split(name)
        splits[name] = {
            "samples": rows.num_samples,
            "views": list(rows.views),
            "logits": None if rows.logits is None else str(rows.logits.dtype),
            "features": None if rows.features is None else rows.features.shape[2],
            "ids": rows.ids is not None,
        }
    norms = cached.head.weight_norm
    return {
        "cache": path,
        "bytes": path.stat().st_size,
        "num_classes": cached.num_classes,
        "class_counts": counts.tolist(),
        "class_names": cached.class_names,
        "imbalance_ratio": float(counts.max() / counts.min()) if counts.min() else None,
        "groups": groups,
        "splits": splits,
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


@command("inspect")
@click.argument("cache", type=click.Path(exists=True, dir_okay=False, path_type=Path))
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
    counts, groups = document["class_counts"], document["groups"]
    shown = ", ".join(map(str, counts[:12])) + (", ..." if len(counts) > 12 else "")
    lines = [
        f"{document['cache']}  ({document['bytes']:,} bytes)",
        f"classes      {document['num_classes']}: {shown}",
        f"groups       many {groups['many']}, medium {groups['medium']}, few {groups['few']}",
    ]
    for name, split in document["splits"].items():
        views = split["views"]
        kinds = ", ".join(f"{views.count(kind)} {kind}" for kind in dict.fromkeys(views))
        parts = [f"{split['samples']:,} samples", f"{kinds} view{'s' * (len(views) > 1)}"]
        if split["logits"]:
            parts.append(f"logits {split['logits']}")
        if split["features"]:
            parts.append(f"features of {split['features']}")
        lines.append(f"{name:<13}{'; '.join(parts)}")
    norm = document["head"]["weight_norm"]
    has = [name for name in ("weight", "bias", "prior_counts") if document["head"][name]]
    lines.append(
        f"head         weight norm {norm['min']:.3f} to {norm['max']:.3f}; "
        f"{', '.join(has) or 'nothing else'} stored"
    )
    lines += [f"{key:<18}{value}" for key, value in sorted(document["attributes"].items())]
    for key, value in document["documents"].items():
        lines += [f"{key}.{name} = {item}" for name, item in _leaves(value)]
    return lines


def _leaves(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        text = str(value)
        return [(prefix, text if len(text) <= 70 else text[:67] + "...")]
    found = []
    for key, item in value.items():
        found += _leaves(item, f"{prefix}.{key}" if prefix else key)
    return found
