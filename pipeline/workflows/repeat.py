"""The commands that make a report and its numbers again."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from marr_pipeline.cache import Cache
from marr_pipeline.optim.solvable import FitStatus
from marr_pipeline.rectify.fit import preset_settings
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.workflows.cached import dataset_name, with_fit_split


def commands(
    cached: Cache,
    rectifiers: Mapping[Path, Rectifier],
    *,
    ridges: Sequence[float],
    page_options: Sequence[str],
    any_head: Sequence[str],
    output: Path,
) -> list[str]:
    """How to make this page, the rectifiers given and the page's numbers again."""
    path = str(cached.path)
    swept = ["--gamma", "0:1.6:0.2", "--l2", ",".join(map(str, ridges))]
    fits = [
        ["rectify", path, *_fit_options(cached, one), "-o", str(file)]
        for file, one in rectifiers.items()
        if one.metadata.get("cache_fingerprint") == cached.fingerprint
        and one.metadata.get("status") != FitStatus.OWN  # of a plugin, which no file names
    ]
    found = [
        *fits,
        ["report", path, *map(str, rectifiers), *page_options, *any_head, "-o", str(output)],
        ["compare", path, *page_options],
        ["sweep", path, *swept, "--eval-split", page_options[1]],
    ]
    return [shlex.join(["pipeline", *command]) for command in found]


def _fit_options(cached: Cache, rectifier: Rectifier) -> list[str]:
    """The options of `rectify` by which a rectifier differs from the default of the command."""
    said = rectifier.metadata
    preset = str(said.get("preset", "default"))
    usual = with_fit_split(
        cached, preset_settings(preset, method=rectifier.method, dataset=dataset_name(cached))
    )
    options = ["--method", rectifier.method, "--preset", preset]
    if "temperature" in said:
        return [*options, "--tune", "auto"]
    for name, expected in vars(usual).items():
        value = said.get(name, expected)
        is_said = name not in ("method", "preset", *said.get("from_rows", ()))
        if is_said and value not in (expected, None):
            value = said.get("center_file", value) if name == "center" else value
            option = f"--{name.replace('_', '-')}"
            options += [option] if isinstance(expected, bool) else [option, str(value)]
    target = said.get("target_prior")
    return [*options, "--target-prior", target] if isinstance(target, str) else options
