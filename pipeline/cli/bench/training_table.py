"""What `pipeline bench train` shows to a person."""

from pipeline.bench.training import TrainingBench
from pipeline.cli.bench.rate_table import rate_table


def training_table(bench: TrainingBench, *, batch_size: int) -> str:
    """Images a second and their ratio, and where a step's time goes.

    Args:
        bench: what was measured.
        batch_size: images a step, for its milliseconds.
    """
    rates = {"bare steps": bench.bare, "training": bench.ours}
    return "\n".join(
        [
            rate_table("images", rates, {"training / bare": bench.ratio}),
            _part_table(bench, batch_size),
        ]
    )


def _part_table(bench: TrainingBench, batch_size: int) -> str:
    lines = [f"{'part of a step':<20}{'best ms':>12}{'median ms':>12}{'of training':>16}"]
    for name, rate in bench.parts.items():
        best, middle = (
            1e3 * batch_size / speed for speed in (rate.per_second, rate.median_per_second)
        )
        lines.append(f"{name:<20}{best:>12.2f}{middle:>12.2f}{bench.shares[name]:>16.1%}")
    lines.append(f"{'rest':<20}{'':>24}{bench.rest:>16.1%}")
    return "\n".join(lines)
