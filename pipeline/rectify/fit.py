"""From arrays and settings to a rectifier: phase two in one call."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from marr_pipeline.optim.result import FitStatus
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.method import FitContext, Outcome
from marr_pipeline.rectify.methods import METHODS
from marr_pipeline.rectify.rows.resources import UNLIMITED, Resources
from marr_pipeline.rectify.settings import RectifySettings


@dataclass(frozen=True, kw_only=True)
class Fit(Outcome):
    """An outcome, its rectifier with metadata, and the seconds from open logits to there."""

    seconds: float


def fit_rectifier(
    inputs: FitInputs,
    settings: RectifySettings,
    *,
    dataset: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    progress: Progress = silent,
    resources: Resources = UNLIMITED,
) -> Fit:
    """Fit one method to cached logits.

    Args:
        inputs: the rows and what is known of the head.
        settings: what is minimised and how.
        dataset: name, which decides the length of `sgd`'s schedule.
        metadata: stored in the rectifier beside the settings: fingerprints, versions.
        progress: told the passes over all rows, or the iterations of `sgd`.
        resources: bound on memory, and the processes that share the rows; all of them call this
            with the same inputs and settings and get the same fit.

    Raises:
        ConfigError: a setting that these inputs or resources cannot bear.
        FitError: the loss ran out of finite numbers.
    """
    begin = time.perf_counter()
    context = FitContext(dataset=dataset, progress=progress, resources=resources)
    outcome = METHODS[settings.method].fit(inputs, settings, context)
    seconds = time.perf_counter() - begin
    ending: dict[str, Any] = {"status": outcome.status, "seconds": seconds}
    if outcome.status is FitStatus.CLOSED_FORM:
        ending["optimizer"] = None
    else:
        ending |= {
            "loss": outcome.loss,
            "gradient_norm": outcome.gradient_norm,
            "gap_bound": outcome.gap_bound,
            "passes": outcome.passes,
        }
    stored = {**asdict(settings), **(metadata or {}), **ending}
    return Fit(
        **{
            **vars(outcome),
            "rectifier": replace(outcome.rectifier, metadata=stored),
            "seconds": seconds,
            "warnings": (*inputs.warnings(), *outcome.warnings),
        }
    )
