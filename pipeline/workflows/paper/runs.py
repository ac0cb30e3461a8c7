"""The runs that an experiment is made of: a network of phase one, its cache, and what it scores.

Everything of a run lies in one folder under one stem, `cifar100-lt-200.softmax.seed0`: the
checkpoint (.pt), the cache (.h5) and, once it is scored, the record (.json), which says the command
that makes the cache. A run that is stopped goes on where it was, see `extract`; one whose record is
there is done.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from marr_pipeline import cache
from marr_pipeline.errors import DataError
from marr_pipeline.files import REPRODUCTION, replacing
from marr_pipeline.protocols import protocol_of
from marr_pipeline.workflows import finite
from marr_pipeline.workflows.paper.published import Images
from marr_pipeline.workflows.request import PhaseOneRequest


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
            said.append(f"REHEARSAL: {100 * self.scale:.3g} % of the schedule's steps")
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

    @property
    def of_rarer_images(self) -> "Run":
        """The run whose training images alone are fitted."""
        assert self.rows_of is not None
        return replace(self, images=self.rows_of, rows_of=None)

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


def write_record(path: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """Put a document there as JSON, null where a number is not finite; what was written."""
    written: dict[str, Any] = finite(document)
    with replacing(path, REPRODUCTION) as partial:
        text = json.dumps(written, indent=1, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")
    return written


def read_record(
    run: Run, keys: Sequence[str], schedule: Schedule, data_root: Path, folder: Path
) -> dict[str, Any] | None:
    """What a finished run has scored; None where it has not, lacks a key, or scored another cache.

    Raises:
        DataError: the folder holds that run with another command.
    """
    path = record_path(run, folder)
    if not path.exists():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        command, rows_of = record["command"], record["rows_of"]
        made_by = _essence(command)
        known = {key for key, each in record["methods"].items() if "overall" in each}
        known |= record["failed"].keys()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: a record of a run expected, got another file") from error
    asked = extraction_command(run, schedule, data_root, folder)
    if made_by != _essence(asked) or rows_of != (run.rows_of and run.rows_of.name):
        on = f" on the rows of {rows_of}" if rows_of else ""
        raise DataError(
            f"{path}: a run by {asked!r} expected, got one by {command!r}{on}; choose another "
            "folder"
        )
    present = scored_fingerprint(run, folder)
    is_present = present is None or record.get("fingerprint") == present
    return record if is_present and known >= set(keys) else None


def scored_fingerprint(run: Run, folder: Path) -> str | None:
    """Of the cache that it is scored on; None where that is gone, or what it would be cut from."""
    own = folder / f"{run.stem}.h5"
    rarer = None if run.rows_of is None else folder / f"{run.of_rarer_images.stem}.h5"
    if not own.exists() or (rarer is not None and not rarer.exists()):
        return None
    found = cache.open_cache(own)
    return (
        found.fingerprint
        if rarer is None
        else cache.fingerprint(cut_parts(found, cache.open_cache(rarer)))
    )


def cut_parts(own: cache.Cache, rarer: cache.Cache) -> dict[str, object]:
    """What a cache is made from that has the rows of rarer images out of a network's own."""
    return {"rows of": rarer.fingerprint, "cut from": own.fingerprint}


def extraction_command(run: Run, schedule: Schedule, data_root: Path, folder: Path) -> str:
    """The command line that makes its cache."""
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
