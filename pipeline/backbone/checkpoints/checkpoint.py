"""The file that `pipeline train` writes: complete or absent, tensors and plain values only.

A zip of torch's, always read with `weights_only=True`. Its top level is a dict of

    format           "marr-checkpoint"
    format_version   "1.0"
    model            state dict of the network, float32
    optimizer        state dict of SGD, to go on training
    scaler           state dict of the loss scaler; null unless trained in float16
    averaged         state dict of the averaged weights; null unless they are kept
    step             steps done
    finished         true once the recipe has run to its end; `model` is then what was kept
    selected         the best weights on the tune split so far, with their step and balanced
                     accuracy; null where the last ones are kept
    config           `TrainingRecord.config`
    rows             split name to (N,) int64, `TrainingRecord.rows`
    rectified        of one that `pipeline export` wrote: method, and log_prior (K,) of the class
                     shares that its logits stand for, or null; then nothing of the training is kept
    provenance       torch version, device, memory layout, number of processes, UTC time; never
                     compared

Every draw is a function of the seed and the step, so no generator's state is kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from marr_pipeline.backbone import build_backbone
from marr_pipeline.backbone.checkpoints.matching import match_tensors
from marr_pipeline.backbone.networks.classifier import Backbone
from marr_pipeline.data.dataset import LongTailedDataset
from marr_pipeline.errors import ConfigError, DataError, first_line
from marr_pipeline.files import CHECKPOINT, replacing
from marr_pipeline.names import canonical_backbone
from marr_pipeline.reading import check_form, reading
from marr_pipeline.state_dict import FORMAT, is_checkpoint, named_tensors
from marr_pipeline.tensor_file import read_tensor_file, write_tensor_file

if TYPE_CHECKING:
    from marr_pipeline.backbone.training.method import TrainingMethod

FORMAT_VERSION = "1.0"
FORMER_DRAWS = "philox4x32-10"
"""Of the images' random views, where a record does not say which."""
_NONE, _NUMBER = type(None), (int, float)
_STATE = {"*": Tensor}
FORM = {
    "model": _STATE,
    "optimizer": {"state?": {"*": {"momentum_buffer?": (Tensor, _NONE)}}, "param_groups?": [dict]},
    "scaler?": ({"*": _NUMBER}, _NONE),
    "averaged?": (_STATE, _NONE),
    "step": int,
    "finished": bool,
    "selected?": ({"step": int, "balanced_accuracy": _NUMBER, "model": _STATE}, _NONE),
    "config": {
        "backbone": str,
        "dataset": {
            "name": str,
            "data_seed": int,
            "imbalance_ratio": (*_NUMBER, _NONE),
            "tune_fraction": _NUMBER,
            "channels": int,
            "image_size": [int],
            "class_names": [str],
            "normalisation": {"mean": [_NUMBER], "std": [_NUMBER]},
            "skipped?": dict,
        },
        "recipe": {
            "name": str,
            "iterations": int,
            "steps_per_epoch": int,
            "batch_size": int,
            "weight_decay": _NUMBER,
            "augmentation": str,
        },
        "seed": int,
        "precision": str,
        "method?": {"name": str, "options": dict},
    },
    "rows": {"train": Tensor, "*": Tensor},
    "rectified?": ({"method": str, "log_prior": (Tensor, _NONE)}, _NONE),
    "provenance": dict,
}
"""Of a file's content, see the module's docstring."""


@dataclass(frozen=True)
class TrainingRecord:
    """All that decides the weights of a run, the library versions and the hardware aside.

    Attributes:
        config: JSON values: `dataset`, `backbone`, `recipe`, `seed`, `precision`, `draws`, how
            random views are drawn; `method` if it is not plain softmax, `initial` if the weights to
            start from were not drawn, `select_on` if not the last ones are kept, `accumulate` and
            `norm_groups` if they are not 1.
        rows: per split, the rows (N,) int64 it took from its source.
    """

    config: dict[str, object]
    rows: dict[str, npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Selected:
    """The best weights so far.

    Attributes:
        step: steps done when they were scored.
        balanced_accuracy: their score, a fraction.
        model: state dict, on the CPU.
    """

    step: int
    balanced_accuracy: float
    model: dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The content of a checkpoint file, on the CPU; the fields are the module docstring's."""

    model: dict[str, Tensor]
    optimizer: dict[str, object]
    step: int
    finished: bool
    selected: Selected | None
    record: TrainingRecord
    provenance: dict[str, str]
    scaler: dict[str, object] | None = None
    averaged: dict[str, Tensor] | None = None
    rectified: dict[str, Any] | None = None


def without_training(content: Mapping[str, Any], rectified: Mapping[str, Any]) -> dict[str, Any]:
    """A finished checkpoint's content, its head rectified: nothing to go on training from."""
    none: dict[str, Any] = {"optimizer": {}, "scaler": None, "averaged": None, "selected": None}
    return {**content, **none, "rectified": dict(rectified)}


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
        "scaler": checkpoint.scaler,
        "averaged": checkpoint.averaged,
        "step": checkpoint.step,
        "finished": checkpoint.finished,
        "selected": None if checkpoint.selected is None else vars(checkpoint.selected),
        "config": checkpoint.record.config,
        "rows": {name: torch.from_numpy(rows) for name, rows in checkpoint.record.rows.items()},
        "provenance": checkpoint.provenance,
    }
    # What may be replaced was settled before the training, which resumes or overwrites.
    with replacing(path, CHECKPOINT, overwrite=True) as partial:
        write_tensor_file(partial, content)


def load_checkpoint(path: Path, *, mapped: bool = False) -> Checkpoint:
    """Read a checkpoint; runs no code that the file may contain.

    Args:
        path: the file.
        mapped: leave its tensors there until they are used.

    Raises:
        DataError: the file is cut short, is no checkpoint, or is not one of ours.
    """
    content = read_tensor_file(path, mapped=mapped)
    if not is_checkpoint(content):
        raise DataError(
            f"{path}: a checkpoint of format {FORMAT} expected, got one of another program; only "
            "those written by `pipeline train` and `pipeline extract` know how to go on"
        )
    return parse_checkpoint(content, where=str(path))


def parse_checkpoint(content: Mapping[str, Any], *, where: str) -> Checkpoint:
    """The checkpoint in the content of a file.

    Args:
        content: one of which `is_checkpoint` holds.
        where: how errors name the file.

    Raises:
        DataError: parts of it are missing or of another kind, or its version is a newer one.
    """
    version = str(content.get("format_version"))
    if version.split(".")[0] != FORMAT_VERSION.split(".")[0]:
        raise DataError(
            f"{where}: checkpoint version {FORMAT_VERSION} expected, got {version}; "
            "update this program or train again"
        )
    check_form(content, FORM, where=where, remedy="train again")
    config, selected = content["config"], content.get("selected")
    with reading(where, "rows of whole numbers", "train again"):
        rows = {name: tensor.numpy() for name, tensor in content["rows"].items()}
        for name, each in rows.items():
            if each.dtype != np.int64 or each.ndim != 1 or (each < 0).any():
                raise ValueError(f"{name}: {each.dtype} of shape {each.shape}, or some below 0")
    backbone = canonical_backbone(config["backbone"])
    as_stored = ("model", "optimizer", "step", "finished", "provenance")
    later: dict[str, Any] = {key: content.get(key) for key in ("scaler", "averaged", "rectified")}
    return Checkpoint(
        **{key: content[key] for key in as_stored},
        **later,
        selected=None
        if selected is None
        else Selected(selected["step"], selected["balanced_accuracy"], selected["model"]),
        record=TrainingRecord({"draws": FORMER_DRAWS, **config, "backbone": backbone}, rows),
    )


def restore_backbone(
    checkpoint: Checkpoint, *, where: str, method: "TrainingMethod | None" = None
) -> Backbone:
    """The network of a checkpoint, on the CPU.

    Args:
        checkpoint: of a training.
        where: how errors name the file.
        method: that it was trained by; None for plain training.

    Raises:
        DataError: its tensors do not fit the backbone that its record names.
    """
    name, dataset = str(checkpoint.record.config["backbone"]), checkpoint.record.config["dataset"]
    assert isinstance(dataset, Mapping)
    try:
        with reading(where, f"a checkpoint of {name}", "train again"):
            model = build_backbone(
                name, len(dataset["class_names"]), in_channels=dataset["channels"], seed=0
            )
            if method is not None:
                shape = (dataset["channels"], *dataset["image_size"])
                model = method.network(model, image_shape=shape, seed=0)
    except ConfigError as error:
        raise DataError(
            f"{where}: a checkpoint of a known backbone expected, got {name} ({error}); "
            "install what it needs or train again"
        ) from error
    if method is None:
        tensors = named_tensors(checkpoint.model, where=where)
        matched = match_tensors(tensors, model, new_head=False, where=where, backbone=name)
        matched.load_into(model)
        return model
    try:
        model.load_state_dict(checkpoint.model)
    except RuntimeError as error:
        raise DataError(
            f"{where}: the tensors of a {name} trained by {method.name} expected, got others "
            f"({first_line(error)}); train again"
        ) from error
    return model


def check_same_dataset(stored: TrainingRecord, dataset: LongTailedDataset, *, where: str) -> None:
    """Raise a DataError that names each difference between the data trained on and `dataset`."""
    was = TrainingRecord({"dataset": stored.config["dataset"]}, stored.rows)
    differences = record_differences(
        was, TrainingRecord({"dataset": dataset.record()}, dataset.source_rows())
    )
    if differences:
        raise DataError(
            f"{where}: the data that the network was trained on expected, got another: "
            f"{'; '.join(differences)}; leave these options to the checkpoint"
        )


def load_checkpoint_of(path: Path, asked: TrainingRecord) -> Checkpoint:
    """The checkpoint of a run that can go on.

    Raises:
        DataError: it is of another run, or no checkpoint.
    """
    stored = load_checkpoint(path)
    differences = record_differences(stored.record, asked)
    if differences:
        raise DataError(
            f"{path}: a checkpoint of this very run expected, got one with "
            f"{'; '.join(differences)}; give another -o, or --overwrite or --no-resume to "
            "train anew"
        )
    return stored


def record_differences(stored: TrainingRecord, asked: TrainingRecord) -> list[str]:
    """One phrase for each difference, such as `recipe.iterations 13000, asked 200`."""
    found = _differences(stored.config, asked.config, "")
    for split in sorted(stored.rows.keys() | asked.rows.keys()):
        before, now = stored.rows.get(split), asked.rows.get(split)
        if before is None or now is None:
            found.append(f"split {split} {_present(before)}, asked {_present(now)}")
        elif not np.array_equal(before, now):
            found.append(f"the images of split {split}")
    return found


def _differences(stored: object, asked: object, path: str) -> list[str]:
    if isinstance(stored, Mapping) and isinstance(asked, Mapping):
        found: list[str] = []
        for key in sorted(stored.keys() | asked.keys()):
            inner = f"{path}.{key}" if path else str(key)
            found += _differences(stored.get(key), asked.get(key), inner)
        return found
    return [] if stored == asked else [f"{path} {_short(stored)}, asked {_short(asked)}"]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _present(rows: npt.NDArray[np.int64] | None) -> str:
    return "absent" if rows is None else f"of {len(rows)} images"
