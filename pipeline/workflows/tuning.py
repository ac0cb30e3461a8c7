"""Tuning on a cache: which samples choose, and what stands against it."""

from collections.abc import Mapping
from typing import Any

import torch

from marr_pipeline.cache import Cache, ViewKind
from marr_pipeline.errors import ConfigError, DataError, LeakError
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.methods import METHODS
from marr_pipeline.rectify.rows.resources import UNLIMITED, Resources
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.rectify.tuning import TuningOptions, tune
from marr_pipeline.rectify.tuning.choice import TUNED, Tuning
from marr_pipeline.rectify.tuning.held_out import Score
from marr_pipeline.workflows.alike import refuse_test
from marr_pipeline.workflows.cached import split_inputs

PROBE = "probe"
"""Key of the record of a plain probe among the documents of a cache whose head it stands for."""


def tuning_options(score: Score, given: Mapping[str, Any]) -> TuningOptions:
    """Options of a tuning that leaves alone whatever of its settings was given (is not None)."""
    fixed = frozenset(name for name in TUNED if given.get(name) is not None)
    return TuningOptions(score=score, fixed=fixed)


def default_tuning(method: str, given: Mapping[str, Any]) -> TuningOptions | None:
    """What is tuned unless a user says otherwise: a method's open strength, if it is not given."""
    is_open = METHODS[method].is_tuned and given.get("l2") is None
    return tuning_options("nll", given) if is_open else None


def held_out_inputs(
    cached: Cache, settings: RectifySettings, device: torch.device
) -> FitInputs | None:
    """The split `tune`, for a method in closed form that chooses its scale on samples held out.

    None for other methods, where all of it is given, where there is no such split, and where it is
    fitted itself.
    """
    names = {"scale": "--logit-scale", "shrinkage": "--shrinkage", "tau": "--tau"}
    heeded = METHODS[settings.method].own_settings
    own = [name for name in names if name in heeded and getattr(settings, name) is None]
    if not own or "tune" not in cached.splits or settings.fit_split == "tune":
        return None
    options = " and ".join(names[name] for name in own)
    remedy = f"give {options}, or write the cache without that tune"
    refuse_test(cached, "settings chosen", remedy)
    return scored_inputs(cached, "tune", device)[0]


def tuned_or_preset(
    cached: Cache,
    inputs: FitInputs,
    settings: RectifySettings,
    *,
    eval_split: str,
    progress: Progress = silent,
) -> tuple[RectifySettings, Tuning | None, list[str]]:
    """The settings with their strength tuned where the method asks for it and the cache allows it.

    With how they were chosen, if they were, and warnings; where the cache does not allow it, one
    says why they are the preset's.
    """
    options = default_tuning(settings.method, {})
    if options is None or settings.optimizer == "sgd":
        return settings, None, []
    try:
        tuning, warnings = tune_on_cache(
            cached, inputs, settings, options=options, eval_split=eval_split, progress=progress
        )
    except (LeakError, ConfigError, DataError) as error:
        return settings, None, [f"not tuned, l2 is the preset's {settings.ridge:g}: {error}"]
    return tuning.chosen.settings, tuning, warnings


def tune_on_cache(
    cached: Cache,
    inputs: FitInputs,
    settings: RectifySettings,
    *,
    options: TuningOptions,
    eval_split: str,
    progress: Progress = silent,
    resources: Resources = UNLIMITED,
) -> tuple[Tuning, list[str]]:
    """Choose on the split `tune` where another is fitted, else by cross-validation over that.

    Args:
        cached: an open cache.
        inputs: its rows of the final fit.
        settings: of the fit, and the point that tuning starts from.
        options: how to choose.
        eval_split: the split that the result is going to be scored on.
        progress: told the fits.
        resources: bound on memory, and the processes that share the rows.

    Returns:
        What was chosen, and warnings of what it stands on.

    Raises:
        LeakError: the choice would be made on test samples.
        ConfigError: the choice would be made on the fitted rows, or there is nothing to choose.
        CacheError: the cache lacks what is asked for.
        DataError: no class has two samples to cross-validate with.
        FitError: the loss ran out of finite numbers.
    """
    assert settings.fit_split is not None
    if settings.optimizer == "sgd" and METHODS[settings.method].path is not None:
        raise ConfigError(
            "--optimizer: lbfgs or newton expected to tune a whole head, whose l2 means another "
            "thing to sgd, got sgd; leave it out, or --tune"
        )
    refuse_test(cached, "settings chosen", "use --tune off")
    is_held_out = settings.fit_split == "tune"
    has_tune = "tune" in cached.splits and not is_held_out
    split = cached.split("tune" if has_tune else settings.fit_split)
    scored, warnings = scored_inputs(cached, split.name, inputs.device)
    with inputs.fitted(), scored.fitted():
        tuning = tune(
            inputs,
            scored,
            settings,
            source="tune" if has_tune else "cross-validation",
            options=options,
            progress=progress,
            resources=resources,
        )
    if tuning.unscored_classes:
        reason = "no sample in split tune" if has_tune else "fewer than two samples"
        warnings.append(
            f"{tuning.unscored_classes} of {cached.num_classes} classes have {reason} and had no "
            "say in the tuning"
        )
    if eval_split == split.name:
        warnings.append(
            "the metrics are those of split tune, which chose the settings: they flatter"
        )
    return tuning, warnings


def scored_inputs(cached: Cache, split: str, device: torch.device) -> tuple[FitInputs, list[str]]:
    """The clean view of a split; all where none is clean."""
    views: ViewKind = "clean" if "clean" in cached.split(split).views else "all"
    return split_inputs(cached, split=split, views=views, device=device)


def describe_tuning(tuning: Tuning, settings: RectifySettings) -> str:
    """One line: on what, by what, what it chose and against what."""
    chosen, start = tuning.chosen, tuning.start
    folds = f"{tuning.num_folds}-fold cross-validation over {settings.fit_split}"
    where = "split tune" if tuning.num_folds is None else folds
    line = f"tuned on {where}, {len(tuning.grid)} points by balanced {tuning.score}: "
    if chosen is not start:
        return line + f"{chosen.score:.4f}, the preset's own values {start.score:.4f}"
    return line + (
        f"the preset's own values {start.score:.4f}, best {tuning.best.score:.4f} "
        f"(standard error {tuning.standard_error:.4f})"
    )
