"""`demo`: the cache that comes with the program, and what a demonstration's figures show, in words.

`cifar10-lt.h5` beside this file is cut from a cache of ours by `benchmarks/embedded_cache.py`: the
logits of a ResNet-32 on CIFAR-10-LT of ratio 100, no image and no feature. Its `/meta/cut` says so.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from marr_pipeline.files import replacing
from marr_pipeline.groups import shot_groups
from marr_pipeline.names import REFERENCES
from marr_pipeline.report.metrics import Metrics
from marr_pipeline.report.population import as_sampled
from marr_pipeline.report.significance import paired_p_value
from marr_pipeline.workflows.cached import CacheLike
from marr_pipeline.workflows.evaluate import evaluate

EMBEDDED = "cifar10-lt.h5"
CHANCE = 0.05
"""p from which on a difference in accuracy is put down to chance."""


def write_embedded_cache(output: Path) -> None:
    """A copy of the embedded cache.

    Raises:
        PipelineError: it cannot be written.
    """
    content = (files("marr_pipeline.workflows") / EMBEDDED).read_bytes()
    with replacing(output) as partial:
        partial.write_bytes(content)


def figures_in_words(cache: CacheLike, rectifier: Path, *, split: str = "test") -> str:
    """What the figures of a rectifier show: groups, accuracy, likelihood and margins.

    It names losses as it names gains, and says of logit adjustment, which fits nothing, the same.

    Args:
        cache: the cache.
        rectifier: file that `rectify` wrote.
        split: split that is scored.

    Raises:
        CacheError, DataError: as `evaluate`.
    """
    found = evaluate(cache, [rectifier], split=split)
    fitted = found.rectifiers[rectifier.stem]
    shown = dict(
        zip(
            ("before", "adjusted", "after"),
            (*(found.rectifiers[name] for name in REFERENCES), fitted),
            strict=True,
        )
    )
    scores = {name: found.rows.scores(one) for name, one in shown.items()}
    population = as_sampled(found.rows.labels.numpy(), found.cached.num_classes)
    present = [
        name for name, members in shot_groups(found.cached.class_counts).items() if members.any()
    ]
    return " ".join(
        sentences(
            fitted.method,
            {name: found.rows.metrics(one) for name, one in shown.items()},
            groups=present if len(present) == 1 else [present[0], present[-1]],
            correlations={
                name: found.rows.averages(one, scores[name]).margin_correlation
                for name, one in shown.items()
            },
            p_before=paired_p_value(scores["after"], scores["before"], population),
            p_adjusted=paired_p_value(scores["after"], scores["adjusted"], population),
        )
    )


def sentences(
    method: str,
    metrics: Mapping[str, Metrics],
    *,
    groups: Sequence[str],
    correlations: Mapping[str, float],
    p_before: float,
    p_adjusted: float,
) -> Iterator[str]:
    """Four sentences from numbers `before`, `adjusted` (by logit adjustment) and `after`.

    Args:
        method: what was fitted.
        metrics: by those names.
        groups: the commonest and the rarest shot group.
        correlations: Spearman's, of class count and mean margin; NaN where a side does not vary.
        p_before: of equal accuracy before and after.
        p_adjusted: of equal accuracy of logit adjustment and the fit.
    """
    before, adjusted, after = (metrics[name] for name in ("before", "adjusted", "after"))

    changes = [
        f"{name}-shot classes {_moved(getattr(before, name), getattr(after, name))}"
        for name in groups
    ]
    yield (
        f"With {method} the accuracy of {' and that of '.join(changes)}; over all test rows it "
        f"{_moved(before.overall, after.overall)}{_by_chance(before, after, p_before)}."
    )
    of_groups = ", ".join(f"{name}-shot {_percent(getattr(adjusted, name))}" for name in groups)
    yield (
        f"Logit adjustment alone, which fits nothing, comes to {_percent(adjusted.overall)} "
        f"({of_groups}), {method} to {_percent(after.overall)}"
        f"{_by_chance(adjusted, after, p_adjusted)}."
    )
    likelihood = _moved(before.nll, after.nll, "{:.3f}".format)
    yield (
        f"Negative log likelihood, of which less is better, {likelihood}; by logit adjustment it "
        f"is {adjusted.nll:.3f}."
    )
    was, by_adjustment, now = (correlations[name] for name in ("before", "adjusted", "after"))
    if was == was and now == now:
        yield (
            f"The rank correlation of class count and mean margin goes from {was:+.2f} to "
            f"{now:+.2f} ({by_adjustment:+.2f} by logit adjustment): {_leaning(was, now)}."
        )


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _moved(before: float, after: float, shown: Callable[[float], str] = _percent) -> str:
    """`rises from 40.0 % to 52.5 %`; what is shown alike stays."""
    first, second = shown(before), shown(after)
    if first == second:
        return f"stays at {first}"
    return f"{'rises' if after > before else 'falls'} from {first} to {second}"


def _by_chance(first: Metrics, second: Metrics, p: float) -> str:
    """What is to be said of a difference in accuracy that is none beyond chance."""
    if p < CHANCE or _percent(first.overall) == _percent(second.overall):
        return ""
    return f", a difference that may be chance (p = {p:.2f})"


def _leaning(before: float, after: float) -> str:
    """What two correlations of class count and margin say."""
    if abs(after) < abs(before):
        said = "margins depend less on how common a class is"
    else:
        said = "margins depend no less on how common a class is"
    if before > 0 > after:
        return f"{said}, and now the rare ones have the larger"
    return said
