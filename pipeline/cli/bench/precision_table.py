"""What `pipeline bench precision` shows to a person."""

from pipeline.bench.agreement import Difference
from pipeline.bench.precision import PrecisionBench


def precision_table(bench: PrecisionBench) -> str:
    """Both fits, and how far they differ."""
    lines = [f"{'stored as':<16}{'bytes':>16}{'seconds':>12}{'passes':>10}{'accuracy %':>14}"]
    for (dtype, timing), accuracy in zip(
        bench.fits.items(), bench.agreement.accuracies, strict=True
    ):
        lines.append(
            f"{dtype:<16}{bench.num_bytes[dtype]:>16,}{timing.seconds:>12,.4f}"
            f"{timing.result.passes:>10.1f}{100 * accuracy:>14.2f}"
        )
    lines.append(f"\n{'difference':<16}{'largest':>16}{'rms':>12}")
    differences: dict[str, Difference] = {
        "omega": bench.omega,
        "beta": bench.beta,
        "probability": bench.agreement.probabilities,
    }
    for name, difference in differences.items():
        lines.append(f"{name:<16}{difference.largest:>16.1e}{difference.rms:>12.1e}")
    lines.append(
        f"predictions that differ: {bench.agreement.changed:,} of {bench.agreement.num_rows:,}"
    )
    if bench.solver_error is not None:
        lines.append(f"omega and beta are certified to {bench.solver_error:.1e}")
    return "\n".join(lines)
