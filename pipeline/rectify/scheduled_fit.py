"""SGD for a method: the schedule that its settings ask for, on the rows of its inputs."""

from torch import Tensor

from marr_pipeline.optim.result import Solution
from marr_pipeline.optim.sgd import run_sgd
from marr_pipeline.optim.solvable import Solvable
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.method import FitContext
from marr_pipeline.rectify.official_schedules import sgd_schedule
from marr_pipeline.rectify.settings import RectifySettings


def follow_schedule(
    problem: Solvable,
    start: Tensor,
    *,
    batch_problem: Solvable,
    inputs: FitInputs,
    settings: RectifySettings,
    context: FitContext,
) -> Solution:
    """The last iterate from `start` (P,).

    Args:
        problem: what a batch has in expectation.
        start: (P,) float64.
        batch_problem: whose loss on the rows of a batch a step descends.
        inputs: the rows of both.
        settings: preset, sampling and seed.
        context: dataset and progress.
    """
    return run_sgd(
        problem,
        start,
        schedule=sgd_schedule(settings, context.dataset, len(inputs.labels)),
        labels=inputs.labels,
        num_views=inputs.num_views,
        seed=settings.seed,
        tolerance=settings.tolerance,
        batch_problem=batch_problem,
        progress=context.progress,
    )
