"""The runs that an experiment is made of: a network of phase one, its cache, and what it scores.

Everything of a run lies in one folder under one stem, `cifar100-lt-200.softmax.seed0`: the
checkpoint (.pt), the cache (.h5) and, once it is scored, the record (.json), which says the command
that makes the cache. A run that is stopped goes on where it was, see `extract`; one whose record is
there is done.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from marr_pipeline import cache
from marr_pipeline.device import resolve_device
from marr_pipeline.errors import DataError
from marr_pipeline.files import REPRODUCTION, replacing
from marr_pipeline.protocols import protocol_of
from marr_pipeline.workflows import CREATOR, library_versions
from marr_pipeline.workflows.compare import compare
from marr_pipeline.workflows.extract import extract
from marr_pipeline.workflows.paper.published import Images
from marr_pipeline.workflows.request import Listener, PhaseOneRequest

SPLIT = "test"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What all runs of a folder share.

    Attributes:
        recipe: one of `names.RECIPES`.
        scale: share of its steps that are made; below 1 a rehearsal.
        batch_size: images a step; None for the recipe's.
        views: augmented views in the cache.
        device: where networks run.
    """

    recipe: str = "default"
    scale: float = 1.0
    batch_size: int | None = None
    views: int = 4
    device: str = "auto"

    @property
    def text(self) -> str:
        """What must be said wherever a number of these runs stands; empty for the paper's own."""
        said = [] if self.recipe == "default" else [f"recipe {self.recipe}"]
        if self.scale != 1:
            said.append(f"REHEARSAL: {100 * self.scale:g} % of the schedule's steps")
        if self.batch_size is not None:
            said.append(f"{self.batch_size} images a step")
        if self.views != Schedule.views:
            said.append(f"views: {self.views}")
        return ", ".join(said)

    def iterations(self, images: Images) -> int:
        """Steps of a training on them."""
        protocol = protocol_of(images.dataset)
        terms = protocol.recipes[self.recipe]
        if terms.iterations is not None:
            steps = float(terms.iterations)
        else:
            assert terms.epochs is not None
            count = protocol.figures[images.ratio].images["train"]
            steps = terms.epochs * count / (self.batch_size or terms.batch_size)
        return max(1, round(self.scale * steps))


@dataclass(frozen=True, kw_only=True)
class Run:
    """One network, and what is scored on it.

    Attributes:
        images: that it is trained on.
        method: of its training.
        options: of that, `NAME=VALUE` each.
        seed: of everything drawn but the images.
        rows_of: whose training images alone are fitted; None for the network's own.
    """

    images: Images
    method: str = "softmax"
    options: tuple[str, ...] = ()
    seed: int = 0
    rows_of: Images | None = None

    @property
    def stem(self) -> str:
        """Of the cache."""
        trained_by = "-".join([self.method, *(each.partition("=")[2] for each in self.options)])
        return f"{self.images.name}.{trained_by}.seed{self.seed}"

    @property
    def scored_stem(self) -> str:
        """Of the record."""
        return self.stem if self.rows_of is None else f"{self.stem}.rows-of-{self.rows_of.name}"

    def request(self, schedule: Schedule, data_root: Path) -> PhaseOneRequest:
        """Its phase one."""
        ratio = self.images.ratio
        return PhaseOneRequest(
            dataset=self.images.dataset,
            data_root=data_root,
            imbalance_ratio=None if ratio is None else float(ratio),
            seed=self.seed,
            method=self.method,
            method_options=self.options,
            recipe=schedule.recipe,
            iterations=None if schedule.scale == 1 else schedule.iterations(self.images),
            batch_size=schedule.batch_size,
            device=schedule.device,
        )


def command_of(request: PhaseOneRequest, *, views: int, output: Path) -> str:
    """The command line of an extraction."""
    words = ["pipeline", "extract"]
    for field in fields(request):
        value = getattr(request, field.name)
        if field.name == "given" or value == field.default:
            continue
        name = "--method-option" if field.name == "method_options" else f"--{field.name}"
        for each in value if isinstance(value, tuple) else [value]:
            shown = f"{each:g}" if isinstance(each, float) else str(each)
            words += [name.replace("_", "-"), shown]
    return shlex.join([*words, "--views", str(views), "-o", str(output)])


def record_path(run: Run, folder: Path) -> Path:
    """Where its record is."""
    return folder / f"{run.scored_stem}.json"


def read_record(
    run: Run, keys: Sequence[str], schedule: Schedule, data_root: Path, folder: Path
) -> dict[str, Any] | None:
    """What a finished run has scored; None where it has not, or lacks one of the keys.

    Raises:
        DataError: the folder holds that run with another command.
    """
    path = record_path(run, folder)
    if not path.exists():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        command, known = record["command"], {*record["methods"], *record["failed"]}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: a record of a run expected, got another file") from error
    asked = _command(run, schedule, data_root, folder)
    if _essence(command) != _essence(asked):
        raise DataError(
            f"{path}: a run by {asked!r} expected, got one by {command!r}; choose another folder"
        )
    return record if known >= set(keys) else None


def _command(run: Run, schedule: Schedule, data_root: Path, folder: Path) -> str:
    output = folder / f"{run.stem}.h5"
    return command_of(run.request(schedule, data_root), views=schedule.views, output=output)


def _essence(command: str) -> list[str]:
    """Its words but for where images, files and networks are, which changes no number."""
    words = shlex.split(command)
    return [
        word
        for before, word in zip(["", *words], words, strict=False)
        if before not in ("--data-root", "-o", "--device") and word != "--device"
    ]


def make(
    run: Run,
    keys: Sequence[str],
    schedule: Schedule,
    data_root: Path,
    folder: Path,
    listener: Listener,
) -> dict[str, Any]:
    """Train, extract and score, each as far as that is not done; the record.

    Raises:
        PipelineError: as `extract` and `compare`; what is kept has been said then.
        KeyboardInterrupt: stopped by a signal; its text says what is kept.
    """
    path = make_cache(run, schedule, data_root, folder, listener)
    if run.rows_of is not None:
        path = _with_rows_of(path, run, schedule, data_root, folder, listener)
    progress = listener.progress("comparing")
    done = compare(path, methods=[*keys], split=SPLIT, progress=progress, say=listener.say)
    document = done.document()
    record = {
        "creator": CREATOR,
        "versions": library_versions(),
        "command": _command(run, schedule, data_root, folder),
        "rows_of": None if run.rows_of is None else run.rows_of.name,
        "fingerprint": cache.open_cache(path).fingerprint,
        "device": str(resolve_device(schedule.device)),
        "seed": run.seed,
        **{name: document[name] for name in ("samples", "methods", "failed", "warnings")},
    }
    with replacing(record_path(run, folder), REPRODUCTION) as partial:
        text = json.dumps(record, indent=1, default=str)
        partial.write_text(text + "\n", encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def make_cache(
    run: Run, schedule: Schedule, data_root: Path, folder: Path, listener: Listener
) -> Path:
    """The cache of its network, made unless it is there."""
    request = run.request(schedule, data_root)
    output = folder / f"{run.stem}.h5"
    extract(request, output=output, views=schedule.views, listener=listener)
    return output


def _with_rows_of(
    path: Path, run: Run, schedule: Schedule, data_root: Path, folder: Path, listener: Listener
) -> Path:
    """The cache of a network with the training rows of other images alone, which lie in its own.

    One seed draws nested images, so that phase two on the rarer ones needs no second extraction.
    """
    assert run.rows_of is not None
    output = folder / f"{run.scored_stem}.h5"
    if output.exists():
        return output
    other = replace(run, images=run.rows_of, rows_of=None)
    rarer = cache.open_cache(make_cache(other, schedule, data_root, folder, listener))
    cached = cache.open_cache(path)
    own, asked = (_training_images(each) for each in (cached, rarer))
    rows = np.flatnonzero(np.isin(own, asked))
    if len(rows) != len(asked):
        raise DataError(
            f"{path}: the {len(asked):,} training images of {rarer.path} among its own expected, "
            f"got {len(rows):,}; use one data root for both"
        )
    arrays = {}
    for name, split in cached.splits.items():
        chosen = rows if name == "train" else np.arange(split.num_samples)
        arrays[name] = cache.SplitArrays(
            logits=None if split.logits is None else split.logits[:, chosen],
            features=None if split.features is None else split.features[:, chosen],
            labels=split.labels[chosen],
            views=split.views,
        )
    documents = {name: cached.meta(name) for name in ("config", "transforms", "provenance")}
    plan = cache.CachePlan(
        class_counts=rarer.class_counts,
        head=cached.head,
        splits={name: split.plan for name, split in arrays.items()},
        class_names=cached.class_names,
        parts={"rows of": rarer.fingerprint, "cut from": cached.fingerprint},
        meta={**documents, "cut": {"from": cached.fingerprint, "rows of": rarer.fingerprint}},
        creator=CREATOR,
        libraries=library_versions(),
    )
    cache.write_arrays(output, plan, arrays)
    return output


def _training_images(cached: cache.Cache) -> npt.NDArray[np.int64]:
    """Their places in the dataset."""
    indices: Any = cached.meta("indices")
    return np.asarray(indices["train"], dtype=np.int64)
