"""What `pipeline bench fit` shows to a person."""

from pipeline.bench.fit import FitBench
from pipeline.bench.machine import Machine
from pipeline.bench.memory import MemoryUse
from pipeline.bench.online import OnlineBench
from pipeline.bench.record import FitRecord

DASH = "-"


def machine_line(machine: Machine, memory: MemoryUse | None = None) -> str:
    """What the times were measured on, and the memory of our fit."""
    line = (
        f"{machine['device']} ({machine['device_name']}), {machine['threads']} threads of "
        f"{machine['cpu_count']}, torch {machine['torch']}"
    )
    peak = None if memory is None else memory.anonymous_peak
    return line if peak is None else f"{line}; our fit: {peak / 2**20:,.0f} MiB beside mapped files"


def pass_table(bench: FitBench) -> str:
    """Milliseconds of single passes, and each over the warm exponential; empty without any."""
    if bench.passes is None:
        return ""
    timings = bench.passes.timings
    exp = timings["exp"]
    lines = [f"{'pass':<18}{'best ms':>12}{'median ms':>12}{'/ exp':>9}"]
    for name, timing in timings.items():
        if timing is None:
            lines.append(f"{name:<18}{DASH:>12}{DASH:>12}{DASH:>9}")
            continue
        ratio = DASH if exp is None else f"{timing.seconds / exp.seconds:.2f}"
        times = f"{1e3 * timing.seconds:>12,.2f}{1e3 * timing.median_seconds:>12,.2f}"
        lines.append(f"{name:<18}{times}{ratio:>9}")
    return "\n".join(lines) + "\n"


def fit_table(bench: FitBench) -> str:
    """One line a fit; empty without any."""
    if not bench.fits:
        return ""
    head = f"{'objective':<16}{'fit':<14}{'status':<14}{'seconds':>10}{'x ours':>8}{'passes':>8}"
    lines = [f"{head}{'loss':>14}{'gap':>10}"]
    return "\n".join([*lines, *map(_fit_line, bench.fits)])


def online_table(online: OnlineBench) -> str:
    """The paper's online way, and how much faster ours are."""
    speed_ups = online.speed_ups
    lines = [
        f"{'phase two':<34}{'steps':>8}{'seconds':>12}{'speed-up':>10}",
        _online_line("network in every step", online.steps, online.seconds),
        _online_line("sgd, the same on the cache", online.steps, online.sgd_seconds)
        + _number(speed_ups["sgd"], ",.0f", 10),
        _online_line("whole schedule, network", online.schedule_steps, online.schedule_seconds)
        + ("  estimated from the steps above" if online.is_extrapolated else ""),
        _online_line("lbfgs on the cache", None, online.lbfgs_seconds)
        + _number(speed_ups["lbfgs"], ",.0f", 10),
    ]
    rows = online.agreement.num_rows
    largest = online.agreement.probabilities.largest
    return "\n".join(
        [
            *lines,
            f"images through the network: {online.schedule_images:,}, once for all {rows:,} cached",
            f"rectified probabilities differ by at most {largest:.1e} on {rows:,} rows",
        ]
    )


def _online_line(name: str, steps: int | None, seconds: float) -> str:
    return f"{name:<34}{_number(steps, ',', 8)}{_number(seconds, ',.3f', 12)}"


def _fit_line(record: FitRecord) -> str:
    name = f"{record.objective:<16}{record.fit:<14}{record.status:<14}"
    if record.why is not None:
        return f"{name}  {record.why}"
    numbers = (
        _number(record.seconds, ".4f", 10),
        _number(record.times_ours, ".2f", 8),
        _number(record.passes, ".0f", 8),
        _number(record.loss, ".8f", 14),
        _number(record.gap, ".1e", 10),
    )
    arithmetic = "" if record.arithmetic in (None, "float32") else f"  in {record.arithmetic}"
    return name + "".join(numbers) + arithmetic


def _number(value: float | None, form: str, width: int) -> str:
    return f"{DASH if value is None else format(value, form):>{width}}"
