"""From a method's name, arrays and settings to a rectifier: phase two in one call.

A method key names a method and the settings it has: `lws` is the method with the default preset,
`lws:official` with another.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from marr_pipeline.errors import ConfigError, FitError
from marr_pipeline.names import PRESETS as PRESET_NAMES
from marr_pipeline.plugins import installed_methods
from marr_pipeline.progress import Progress, detail, silent
from marr_pipeline.protocols import OTHER, protocol_of
from marr_pipeline.rectify.inputs import FitContext, FitInputs
from marr_pipeline.rectify.method import FitResult
from marr_pipeline.rectify.methods import METHODS, add_installed
from marr_pipeline.rectify.rows.kernel import kernel_name
from marr_pipeline.rectify.rows.resources import UNLIMITED, Resources
from marr_pipeline.rectify.settings import PRESETS, RectifySettings, check_choice
from marr_pipeline.rectify.strengths import LINE_L2, ranks_worse, with_strengths
from marr_pipeline.state_dict import not_finite


def preset_settings(
    preset: str, *, method: str = "marr", dataset: str | None = None, **overrides: Any
) -> RectifySettings:
    """A preset as a method has it on a dataset, with fields that were given otherwise.

    Raises:
        ConfigError: a setting is out of range, or there is no such preset or method.
    """
    found = METHODS[method]
    check_choice("preset", preset, PRESET_NAMES)
    settings: dict[str, Any] = {**found.settings, **found.presets.get(preset, {})}
    l2 = settings.get("l2", PRESETS[preset].l2)
    if l2 == OTHER.weight_decay:
        settings["l2"] = protocol_of(dataset).weight_decay
    return replace(PRESETS[preset], method=method, **(settings | overrides))


def method_keys() -> tuple[str, ...]:
    """Every method with every preset of its own, the default first; installed ones come last."""
    add_installed()
    return tuple(
        name if preset == "default" else f"{name}:{preset}"
        for name, method in METHODS.items()
        for preset in method.presets
    )


def parse_method_key(key: str) -> tuple[str, str]:
    """Method and preset of a key.

    Raises:
        ConfigError: one of them does not exist.
    """
    name, _, preset = key.partition(":")
    preset = preset or "default"
    known = {*METHODS, *installed_methods()}
    if name not in known or preset not in PRESET_NAMES:
        raise ConfigError(
            f"method: one of {', '.join(METHODS)}, alone or with one of "
            f"{', '.join(f':{each}' for each in PRESET_NAMES)}, expected, got {key}; choose one"
        )
    return name, preset


def canonical_key(key: str) -> str:
    """The one key of a method: `marr:default` is `marr`. Raises as `parse_method_key`."""
    name, preset = parse_method_key(key)
    return name if preset == "default" else f"{name}:{preset}"


def _fitted(
    inputs: FitInputs, settings: RectifySettings, context: FitContext
) -> tuple[FitResult, RectifySettings]:
    """The fit, and its settings with the strengths that the rows have decided."""
    method, resources, is_open = METHODS[settings.method], context.resources, settings.l2 is None
    if method.family is not None:
        settings = with_strengths(inputs, settings, resources)
    result = method.fit(inputs, settings, context)
    family = None if method.family is None else method.family(inputs.weight_norm)
    has_shifts = family is not None and family.shift_unit is not None
    is_open = is_open and settings.center == "tempered" and has_shifts
    if is_open and settings.rows == "held-out" and ranks_worse(inputs, result.rectifier, resources):
        settings = replace(settings, l2=LINE_L2)
        result = method.fit(inputs, settings, context)
        note = "the rows bear no ranking but logit adjustment's: its temperature alone was fitted"
        result = replace(result, warnings=(*result.warnings, note))
    broken = not_finite(result.rectifier.tensors())
    if broken:
        raise FitError(
            f"{settings.method}: finite numbers expected, got others in {', '.join(broken)}; "
            "look at the rows: are there huge numbers, or features that never vary?"
        )
    return result, settings


def fit_rectifier(
    inputs: FitInputs,
    settings: RectifySettings,
    *,
    dataset: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    held_out: FitInputs | None = None,
    progress: Progress = silent,
    resources: Resources = UNLIMITED,
) -> FitResult:
    """Fit one method to cached logits.

    Args:
        inputs: the rows and what is known of the head.
        settings: what is minimised and how.
        dataset: name, which decides the length of `sgd`'s schedule.
        metadata: stored in the rectifier beside the settings: fingerprints, versions.
        held_out: samples that phase one has not seen, for what a closed form chooses on others than
            its own rows.
        progress: told the passes over all rows, or the iterations of `sgd`.
        resources: bound on memory, and the processes that share the rows; all of them call this
            with the same inputs and settings and get the same fit.

    Raises:
        ConfigError: a setting that these inputs or resources cannot bear.
        FitError: the loss or the result ran out of finite numbers. Where a row began so, what
            `inputs` raises for it.
    """
    method, num_ranks = METHODS[settings.method], resources.ranks.size
    if settings.optimizer == "sgd" and method.is_fitted and num_ranks > 1:
        raise ConfigError(
            f"optimizer: lbfgs or newton expected in {num_ranks} processes, got sgd, whose steps "
            "follow one another; start it without torchrun"
        )
    begin = time.perf_counter()
    open_settings = settings
    if method.family is None and method.is_fitted and settings.l2 is None:
        raise ConfigError(f"l2: a number expected for {settings.method}, got none; give it")
    context = FitContext(dataset=dataset, progress=progress, resources=resources, held_out=held_out)
    with inputs.fitted(), (held_out or inputs).fitted():
        result, settings = _fitted(inputs, settings, context)
    seconds = time.perf_counter() - begin
    detail(f"{settings.method}: {seconds:.3f} s, passes {kernel_name(inputs.device)}")
    ending: dict[str, Any] = {"status": result.status, "seconds": seconds}
    if result.loss is None:
        ending["optimizer"] = None
    else:
        names = ("loss", "gradient_norm", "gap_bound", "passes")
        ending |= {name: getattr(result, name) for name in names}
        if settings.optimizer != "sgd":  # which has told its last iteration
            num_passes = math.ceil(result.passes)
            progress(num_passes, num_passes, f"loss {result.loss:.6f}")
    from_rows = [name for name, value in asdict(open_settings).items() if value is None]
    if settings != open_settings:
        ending["from_rows"] = [each for each in from_rows if getattr(settings, each) is not None]
    known = {"class_counts": inputs.class_counts.tolist()}
    stored = {**asdict(settings), **result.chosen, **known, **(metadata or {}), **ending}
    return replace(
        result,
        rectifier=replace(result.rectifier, metadata=stored),
        seconds=seconds,
        warnings=(*inputs.warnings(), *result.warnings),
    )
