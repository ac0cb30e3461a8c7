"""The file that `pipeline train` writes: complete or absent, tensors and plain values only.

A zip of torch's, always read with `weights_only=True`. Its top level is a dict of

    format           "marr-checkpoint"
    format_version   "1.0"
    model            state dict of the network, float32
    optimizer        state dict of SGD, to go on training
    step             steps done
    finished         true once the recipe has run to its end
    config           `TrainingRecord.config`
    rows             split name to (N,) int64, `TrainingRecord.rows`
    provenance       torch version, device and UTC time; never compared
"""

import pickle
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from pipeline.backbone import build_backbone
from pipeline.backbone.record import TrainingRecord
from pipeline.backbone.resnet import ResNet
from pipeline.errors import ConfigError, DataError
from pipeline.files import replacing, unwritable

FORMAT = "marr-checkpoint"
FORMAT_VERSION = "1.0"
KEYS = frozenset(
    {"format_version", "model", "optimizer", "step", "finished", "config", "rows", "provenance"}
)
ONLY_OURS = "only checkpoints written by `pipeline train` and `pipeline extract` are read"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The content of a checkpoint file, on the CPU; the fields are the module docstring's."""

    model: dict[str, Tensor]
    optimizer: dict[str, object]
    step: int
    finished: bool
    record: TrainingRecord
    provenance: dict[str, str]


def provenance(device: torch.device) -> dict[str, str]:
    """What is worth knowing about a run and decides nothing."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"torch": str(torch.__version__), "device": name, "time": now}


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write `path` so that it is complete under its name or not there at all.

    Raises:
        PipelineError: the file cannot be written; an older one of that name is untouched.
    """
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": checkpoint.model,
        "optimizer": checkpoint.optimizer,
        "step": checkpoint.step,
        "finished": checkpoint.finished,
        "config": checkpoint.record.config,
        "rows": {name: torch.from_numpy(rows) for name, rows in checkpoint.record.rows.items()},
        "provenance": checkpoint.provenance,
    }
    try:
        with replacing(path) as partial, partial.open("wb") as file:
            torch.save(content, file)
    except RuntimeError as error:  # torch's word for a full disk
        raise unwritable(path, error) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; runs no code that the file may contain.

    Raises:
        DataError: the file is cut short, is no checkpoint, or is not one of ours.
    """
    if not path.is_file():
        raise DataError(f"{path}: a checkpoint expected, got no file; train one first")
    if not zipfile.is_zipfile(path):
        raise DataError(
            f"{path}: a checkpoint expected, got a file that is cut short or of another kind; "
            f"{ONLY_OURS}"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{path}: a checkpoint of plain tensors expected, got a file that cannot be read so "
            f"({reason}); {ONLY_OURS}"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or KEYS - set(content):
        raise DataError(
            f"{path}: a checkpoint of format {FORMAT} expected, got a foreign one; {ONLY_OURS}"
        )
    version = str(content["format_version"])
    if version.split(".")[0] != FORMAT_VERSION.split(".")[0]:
        raise DataError(
            f"{path}: checkpoint version {FORMAT_VERSION} expected, got {version}; "
            "update this program or train again"
        )
    rows = {name: tensor.numpy() for name, tensor in content["rows"].items()}
    return Checkpoint(
        model=content["model"],
        optimizer=content["optimizer"],
        step=content["step"],
        finished=content["finished"],
        record=TrainingRecord(content["config"], rows),
        provenance=content["provenance"],
    )


def restore_backbone(checkpoint: Checkpoint, *, where: str) -> ResNet:
    """The network of a checkpoint, on the CPU.

    Raises:
        DataError: its tensors do not fit the backbone that its record names.
    """
    name = str(checkpoint.record.config["backbone"])
    try:
        model = build_backbone(
            name,
            len(checkpoint.model["head.bias"]),
            in_channels=checkpoint.model["conv1.weight"].shape[1],
            seed=0,
        )
        model.load_state_dict(checkpoint.model)
    except (ConfigError, KeyError, RuntimeError) as error:
        raise DataError(
            f"{where}: the tensors of a {name} expected, got others ({error}); train again"
        ) from error
    return model
