"""Reading what `Rectifier.save` writes."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from marr_pipeline.errors import DataError
from marr_pipeline.rectify.confidence.rectifier import ConfidenceRectifier
from marr_pipeline.rectify.head.rectifier import HeadRectifier
from marr_pipeline.rectify.rectifier import FORMAT, FORMAT_VERSION, Rectifier

KINDS: tuple[type[Rectifier], ...] = (ConfidenceRectifier, HeadRectifier, Rectifier)
"""A file is of the first kind whose tensors it has."""


def load_rectifier(path: Path) -> Rectifier:
    """Read what `Rectifier.save` wrote.

    Raises:
        DataError: not a rectifier, of a newer major version, or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise DataError(
            f"{path}: a rectifier written by `pipeline rectify -o` expected, got {error}"
        ) from error
    if header.pop("format", None) != FORMAT:
        raise DataError(
            f"{path}: a rectifier written by `pipeline rectify -o` expected, "
            f"got a safetensors file with {', '.join(sorted(tensors)) or 'nothing'}"
        )
    version = header.pop("format_version")
    if version.split(".")[0] != FORMAT_VERSION.split(".")[0]:
        raise DataError(
            f"{path}: format version {FORMAT_VERSION} expected, got {version}; "
            "update this program or fit again"
        )
    broken = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise DataError(
            f"{path}: finite numbers expected, got others in {', '.join(broken)}; fit again"
        )
    metadata = {key: json.loads(value) for key, value in header.items()}
    kind = next(kind for kind in KINDS if tensors.keys() >= set(kind.part_names()))
    parts = {name: tensors.pop(name) for name in ("scale", "shift", *kind.part_names())}
    return kind(**parts, own=tensors, metadata=metadata)
