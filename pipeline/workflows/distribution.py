"""Shares of the classes, as a user says them, and what a split's metrics are about under them.

K classes. Two options take them, and they differ in what they do with them. `--class-distribution`
only scores: the predictions stay, samples of different classes count differently.
`--target-prior` moves the logits to the distribution too, as `rectify.prior` does it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.names import ESTIMATE, NEEDS_ROWS
from marr_pipeline.rectify.prior.target import AnyRectifier, is_pulled, with_prior
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.report.population import (
    Counts,
    Floats,
    Population,
    as_sampled,
    reversed_distribution,
    under_distribution,
)
from marr_pipeline.workflows.class_numbers import numbers_in, numbers_of

Value = TypeVar("Value")
Said = str | Path | Mapping[str, float] | Sequence[float] | Floats
"""A word, or a file; in Python also a number a class, in class order or by class name."""

WORDS: dict[str, tuple[str, Callable[[Counts], Floats]]] = {
    "uniform": ("every class equally often", lambda counts: np.ones(len(counts))),
    "train": ("every class as often as in training", lambda counts: counts.astype(np.float64)),
    "backward": ("the training distribution turned around", reversed_distribution),
}
"""What a word says, and the weights (K,) that it makes of the counts (K,) of the training list."""
OF_TRAINING = ("train", "backward")
"""Words that are made of the counts."""
KEYS = ("prior", "weights", "class_counts")
"""Under which numbers stand in an `.npz` or a JSON object."""
CLASS_DISTRIBUTION, TARGET_PRIOR = "--class-distribution", "--target-prior"
MATCH_PRIOR = "--match-prior"
REMEDY = "give every class a weight"


def class_shares(
    said: Said,
    class_counts: Counts | None,
    class_names: Sequence[str] | None = None,
    *,
    option: str = CLASS_DISTRIBUTION,
    num_classes: int = 0,
) -> Floats:
    """What an option names: the share (K,) of each class, at least 0, 1 in all.

    Args:
        said: the distribution.
        class_counts: (K,) of the training list; None where an old rectifier has none.
        class_names: (K,), where the classes have names.
        option: how errors name numbers that come from no file.
        num_classes: K, where there are no counts.

    Raises:
        ConfigError: they are asked of rows, which only `apply` has.
        DataError: there are no such numbers, or they are made of counts that are not known.
    """
    if class_counts is None and isinstance(said, str) and said in OF_TRAINING:
        raise DataError(
            f"{option} {said}: a rectifier that knows the class counts of training expected, got "
            "one of an older version; fit it again, or give FILE with the shares"
        )
    if class_counts is None:
        class_counts = np.ones(num_classes, dtype=np.int64)
    num_classes = len(class_counts)
    if isinstance(said, str) and said == ESTIMATE:
        raise ConfigError(
            f"{option}: shares that are known expected, got {ESTIMATE}, {NEEDS_ROWS}; ask it"
        )
    is_word = isinstance(said, str) and said in WORDS
    if isinstance(said, str | Path) and not is_word:
        weights = numbers_in(
            Path(said), num_classes, keys=KEYS, remedy=REMEDY, class_names=class_names
        )
    else:
        given = WORDS[str(said)][1](class_counts) if is_word else said
        weights = numbers_of(
            given, num_classes, where=option, remedy=REMEDY, class_names=class_names
        )
    weights = weights / weights.max()  # the sum of very large ones would be infinite
    return np.asarray(weights / weights.sum())


def target_shares(
    target_prior: Said | None,
    class_counts: Counts,
    class_names: Sequence[str] | None,
    *,
    class_distribution: Said | None = None,
) -> Floats | None:
    """The shares (K,) that `--target-prior` names; None without one.

    Raises:
        ConfigError: `class_distribution` beside it is another: moved logits are scored under the
            distribution that they were moved to.
        DataError: there are no such numbers.
    """
    if target_prior is None:
        return None
    shares = class_shares(target_prior, class_counts, class_names, option=TARGET_PRIOR)
    if class_distribution is not None:
        scored = class_shares(class_distribution, class_counts, class_names)
        if not np.allclose(shares, scored, rtol=1e-6, atol=1e-12):
            raise ConfigError(
                f"--class-distribution: that of --target-prior {_name(target_prior)}, under which "
                f"moved logits are scored, expected, got {_name(class_distribution)}; leave one "
                "of them out"
            )
    return shares


def check_exchangeable(
    sets: object | None, target_prior: Said | None, match_prior: Said | None = None
) -> None:
    """Refuse two priors, and sets of moved logits, whose rows are others than those that calibrate.

    Raises:
        ConfigError: two of them were given.
    """
    priors = {TARGET_PRIOR: target_prior, MATCH_PRIOR: match_prior}
    given = [f"{option} {_name(said)}" for option, said in priors.items() if said is not None]
    if len(given) > 1:
        raise ConfigError(
            f"{MATCH_PRIOR}: no {TARGET_PRIOR} beside it expected, got both; leave one of them out"
        )
    if sets is not None and given:
        raise ConfigError(
            "--sets: logits as they were fitted expected, for rows like those of split tune, got "
            f"{given[0]}; leave one of them out"
        )


def scored_under(
    class_distribution: Said | None,
    target_prior: Said | None,
    labels: Counts,
    class_counts: Counts,
    class_names: Sequence[str] | None,
) -> tuple[Population, Floats | None, list[str]]:
    """What samples count by the two options, the shares (K,) that logits are moved to, and what of
    the distribution the split cannot show. Arguments and errors are those of `split_population` and
    `target_shares`.
    """
    target = target_shares(
        target_prior, class_counts, class_names, class_distribution=class_distribution
    )
    said, option = class_distribution, CLASS_DISTRIBUTION
    if target is not None:
        said, option = target_prior, TARGET_PRIOR
    population, warnings = split_population(said, labels, class_counts, class_names, option=option)
    return population, target, warnings


def split_population(
    said: Said | None,
    labels: Counts,
    class_counts: Counts,
    class_names: Sequence[str] | None = None,
    *,
    option: str = CLASS_DISTRIBUTION,
) -> tuple[Population, list[str]]:
    """What a sample of each class counts, and what of the distribution the split cannot show.

    Args:
        said: the distribution; None for the split as it is.
        labels: (N,) of the split.
        class_counts: (K,) of the training list.
        class_names: (K,), where the classes have names.
        option: that has said it.

    Raises:
        DataError: there are no such numbers, or none on a class with samples.
    """
    if said is None:
        return as_sampled(labels, len(class_counts)), []
    shares = class_shares(said, class_counts, class_names, option=option)
    population = under_distribution(labels, shares)
    unseen = (shares > 0) & ~population.present
    if not unseen.any():
        return population, []
    return population, [
        f"{option} {_name(said)}: {unseen.sum()} of its classes have no sample in the split, "
        f"{shares[unseen].sum():.1%} of its weight; the other classes stand for them in proportion"
    ]


def moved(rectifier: AnyRectifier, shares: Floats) -> AnyRectifier:
    """`with_prior` for shares (K,) of which some may be 0.

    Raises:
        DataError: the rectifier stands for no prior.
    """
    return with_prior(rectifier, torch.from_numpy(shares).log())


def recorded_prior(rectifier: Rectifier) -> dict[str, Any] | None:
    """Which class shares (K,) a rectifier's probabilities stand for, for JSON; None for none."""
    if rectifier.log_prior is None:
        return None
    shares = rectifier.log_prior.exp().tolist()
    return {"shares": shares, "approximate": is_pulled(rectifier)}


def moved_all(
    rectifiers: Mapping[str, Rectifier], shares: Floats | None
) -> tuple[dict[str, Rectifier], list[str], list[str]]:
    """Rectifiers moved to shares (K,), and keys of those that stand for no prior.

    Without shares all stay where they are.

    Returns:
        The rectifiers; keys of those moved from the prior of their calibration; and keys of those
        that have none and so stay where they are.
    """
    if shares is None:
        return dict(rectifiers), [], []
    of_none = [key for key, one in rectifiers.items() if one.log_prior is None]
    unmoved = [key for key in of_none if rectifiers[key].calibration is None]
    found = {key: one if key in unmoved else moved(one, shares) for key, one in rectifiers.items()}
    return found, [key for key in of_none if key not in unmoved], unmoved


def say_moved(calibrated: Iterable[str], unmoved: Iterable[str] = ()) -> list[str]:
    """Warnings of rectifiers that stand for no prior, where a target prior is given."""
    told = {
        "they are calibrated first": [*calibrated],
        f"{TARGET_PRIOR} leaves them as they are": [*unmoved],
    }
    return [
        f"{', '.join(keys)}: no class prior is known that the probabilities stand for, so {what}"
        for what, keys in told.items()
        if keys
    ]


def marked(rows: Mapping[str, Value], unmoved: Collection[str]) -> dict[str, Value]:
    """Rows of a table by name, those of rectifiers that stay where they are called so."""
    return {f"{key} (unmoved)" if key in unmoved else key: row for key, row in rows.items()}


def describe_scope(class_distribution: Said | None, target_prior: Said | None) -> str:
    """For which distribution numbers hold, in words, for a caption."""
    if target_prior is None:
        return describe_distribution(class_distribution)
    return f"{describe_distribution(target_prior)}, logits moved to it"


def describe_distribution(said: Said | None) -> str:
    """In words, for a caption."""
    if said is None:
        return "as it is"
    if isinstance(said, str) and said in WORDS:
        return f"with {WORDS[said][0]}"
    return f"with the class weights {'of ' * isinstance(said, str | Path)}{_name(said)}"


def recorded(said: Said | None) -> str | list[float] | dict[str, float] | None:
    """As it was said, for JSON."""
    if said is None or isinstance(said, str | Path):
        return None if said is None else str(said)
    if hasattr(said, "items"):
        return {str(name): float(value) for name, value in said.items()}
    return [float(value) for value in said]


def _name(said: Said) -> str:
    """The word or the file's name; numbers alone have none."""
    return Path(said).name if isinstance(said, str | Path) else "given"
