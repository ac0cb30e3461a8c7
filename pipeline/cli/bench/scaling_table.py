"""What `pipeline bench scaling` shows to a person."""

from pipeline.bench.scaling import MEASURES, ScalingBench, ScalingPoint, Series


def scaling_table(bench: ScalingBench) -> str:
    """Every point of both series, and how each measure grows."""
    return "\n".join(map(_series_table, bench.series))


def _series_table(series: Series) -> str:
    columns = "".join(f"{name:>14}" for name in ("pass ms", "fit ms", "fit ms / pass"))
    lines = [f"{'N':>10}{'K':>8}{columns}{'passes':>10}"]
    lines += [_point_line(point) for point in series.points]
    for title, value in (("exponent", series.exponent), ("to linear", series.to_linear)):
        lines.append(f"{title:>18}" + "".join(f"{value(name):>14.2f}" for name in MEASURES))
    return "\n".join(lines) + "\n"


def _point_line(point: ScalingPoint) -> str:
    times = "".join(f"{1e3 * getattr(point, name):>14,.2f}" for name in MEASURES)
    size = f"{point.num_samples:>10,}{point.num_classes:>8,}"
    return f"{size}{times}{point.fit.result.passes:>10.1f}"
