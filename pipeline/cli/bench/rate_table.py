"""What `pipeline bench extract`, `train` and `cache` show to a person: rates and their ratios."""

from collections.abc import Mapping

from pipeline.bench.extraction import ExtractionBench
from pipeline.bench.rates import Rate, RateRatio
from pipeline.bench.reading import Reading
from pipeline.bench.stages import Stage

MILLION = 1e6


def extraction_table(bench: ExtractionBench) -> str:
    """Images a second, and the ratio."""
    rates = {"bare eval loop": bench.bare, "extraction": bench.ours}
    return rate_table("images", rates, {"extraction / bare": bench.ratio})


def reading_table(reading: Reading) -> str:
    """Every way to read, and the ratios."""
    ratios = {name.replace("_to_", " / "): ratio for name, ratio in reading.ratios.items()}
    return rate_table("reading", reading.rates, ratios)


def stage_table(stages: Mapping[str, Stage]) -> str:
    """Seconds, speed and memory of each stage."""
    lines = [f"{'stage':<20}{'seconds':>12}{'MB/s':>12}{'MiB beside mapped files':>26}"]
    for name, stage in stages.items():
        peak = stage.memory.anonymous_peak
        memory = "-" if peak is None else f"{peak / 2**20:,.0f}"
        speed = f"{stage.bytes_per_second / MILLION:>12,.0f}"
        lines.append(f"{name:<20}{stage.seconds:>12,.3f}{speed}{memory:>26}")
    return "\n".join(lines) + "\n"


def rate_table(title: str, rates: Mapping[str, Rate], ratios: Mapping[str, RateRatio]) -> str:
    """Times and speed of each rate under one title, and the ratios."""
    lines = [f"{title:<20}{'best ms':>12}{'median ms':>12}{'a second':>16}"]
    for name, rate in rates.items():
        times = f"{1e3 * rate.seconds:>12,.2f}{1e3 * rate.median_seconds:>12,.2f}"
        lines.append(f"{name:<20}{times}{_speed(rate):>16}")
    for name, ratio in ratios.items():
        lines.append(f"{name:<20}{ratio.best:>12.2f}{ratio.median:>12.2f}")
    return "\n".join(lines) + "\n"


def _speed(rate: Rate) -> str:
    if rate.unit == "bytes":
        return f"{rate.per_second / MILLION:,.0f} MB"
    return f"{rate.per_second:,.0f} {rate.unit}"
