"""`pipeline evaluate`: metrics of rectifiers beside softmax and logit adjustment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from marr_pipeline import names
from marr_pipeline.cli.command import command, print_json
from marr_pipeline.cli.options import input_type, json_option

if TYPE_CHECKING:
    from marr_pipeline.cache import Cache
    from marr_pipeline.rectify.rectifier import Rectifier
    from marr_pipeline.report.metrics import Metrics
    from marr_pipeline.workflows.cached import EvaluationRows


@dataclass(frozen=True)
class Evaluation:
    """Rectifiers on one split of a cache, by key: file stem, or the name of a baseline."""

    cached: "Cache"
    rows: "EvaluationRows"
    rectifiers: Mapping[str, "Rectifier"]

    def metrics(self) -> "dict[str, Metrics]":
        """Every number of the tables, by key."""
        return {key: self.rows.metrics(rectifier) for key, rectifier in self.rectifiers.items()}


def open_evaluation(
    path: Path,
    files: tuple[Path, ...],
    *,
    split: str,
    any_head: bool = False,
    baselines: tuple[str, ...] = ("softmax", "logit-adjustment"),
) -> Evaluation:
    """A cache's split, the baselines and rectifier files, ready to be scored.

    Raises:
        CacheError: the cache is invalid or lacks the split.
        ConfigError: two files would have the same key.
        DataError: a rectifier is invalid or of another head.
    """
    from marr_pipeline.cache import open_cache
    from marr_pipeline.errors import ConfigError
    from marr_pipeline.workflows.cached import closed_form, evaluation_rows, rectifier_for

    cached = open_cache(path)
    rows = evaluation_rows(cached, split)
    rectifiers = {name: closed_form(cached, name) for name in baselines}
    for file in files:
        if file.stem in rectifiers:
            raise ConfigError(f"{file}: a file stem of its own expected, got a second {file.stem}")
        rectifiers[file.stem] = rectifier_for(cached, file, any_head=any_head)
    return Evaluation(cached, rows, rectifiers)


@command("evaluate")
@click.argument("cache", type=input_type)
@click.argument("rectifiers", type=input_type, nargs=-1)
@click.option("--split", type=click.Choice(names.SPLITS), default="test")
@click.option("--any-head", is_flag=True, help="Accept rectifiers fitted on another head.")
@json_option
def cli_command(
    cache: Path, rectifiers: tuple[Path, ...], split: str, any_head: bool, as_json: bool
) -> None:
    """Score RECTIFIERS on a split of CACHE, beside softmax and logit adjustment."""
    from marr_pipeline.report.tables import metrics_table

    evaluation = open_evaluation(cache, rectifiers, split=split, any_head=any_head)
    metrics = evaluation.metrics()
    if not as_json:
        click.echo(metrics_table(metrics))
        return
    methods = {
        key: {"method": evaluation.rectifiers[key].method, **metrics[key].record()}
        for key in metrics
    }
    print_json({"command": "evaluate", "split": split, "methods": methods})
