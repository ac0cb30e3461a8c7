"""The settings that a preset's name stands for, for a method and a dataset.

A method key names both: `lws` is the method with the default preset, `lws:official` with another.
"""

from dataclasses import replace
from typing import Any

from marr_pipeline.errors import ConfigError
from marr_pipeline.names import PRESETS as PRESET_NAMES
from marr_pipeline.protocols import OTHER, protocol_of
from marr_pipeline.rectify.methods import METHODS
from marr_pipeline.rectify.settings import PRESETS, RectifySettings


def preset_settings(
    preset: str, *, method: str = "marr", dataset: str | None = None, **overrides: Any
) -> RectifySettings:
    """A preset as a method has it on a dataset, with fields that were given otherwise.

    Raises:
        ConfigError: a setting is out of range.
    """
    found = METHODS[method]
    settings: dict[str, Any] = {**found.settings, **found.presets.get(preset, {})}
    l2 = settings.get("l2", PRESETS[preset].l2)
    if l2 == OTHER.weight_decay:
        settings["l2"] = protocol_of(dataset).weight_decay
    return replace(PRESETS[preset], method=method, **(settings | overrides))


def method_keys() -> tuple[str, ...]:
    """Every method with every preset of its own, the default first."""
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
    if name not in METHODS or preset not in PRESET_NAMES:
        raise ConfigError(
            f"method: one of {', '.join(METHODS)}, alone or with one of "
            f"{', '.join(f':{each}' for each in PRESET_NAMES)}, expected, got {key}; choose one"
        )
    return name, preset
