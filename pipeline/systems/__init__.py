"""Training methods by name: those of `losses`, and whole systems with networks of their own."""

from collections.abc import Mapping, Sequence
from typing import Any

from marr_pipeline.backbone.training.method import LossMethod, TrainingMethod, loss_options
from marr_pipeline.errors import ConfigError
from marr_pipeline.losses import LOSSES
from marr_pipeline.losses.options import parse_options
from marr_pipeline.protocols import protocol_of
from marr_pipeline.systems.bbn import BBN
from marr_pipeline.systems.causal_norm import CausalNorm
from marr_pipeline.systems.hybrid_sc import HybridSC
from marr_pipeline.systems.oltr import OLTR
from marr_pipeline.systems.system import System

SYSTEMS: dict[str, type[System]] = {each.name: each for each in (OLTR, CausalNorm, BBN, HybridSC)}


def training_method(
    name: str, texts: Sequence[str] = (), *, of: str | None = None
) -> TrainingMethod:
    """The method of that name, a key of `LOSSES` or of `SYSTEMS`.

    Args:
        name: one of `names.TRAINING_METHODS`.
        texts: options as the user says them, `NAME=VALUE` each.
        of: the dataset, for which some methods have options of their own.

    Raises:
        ConfigError: no such method, an option that it does not have, or a value of another kind.
    """
    texts = [*protocol_of(of).training.get(name, ()), *texts]
    if name in LOSSES:
        return LossMethod(name, loss_options(name, texts))
    if name not in SYSTEMS:
        raise ConfigError(
            f"method: one of {', '.join([*LOSSES, *SYSTEMS])} expected, got {name}; choose one, or "
            "give the --plugin FILE.py that has it"
        )
    system = SYSTEMS[name]
    options: dict[str, Any] = parse_options(system, texts, method=name)
    return system(**options)


def recorded_method(record: Mapping[str, Any] | None) -> TrainingMethod:
    """The method of a `TrainingMethod.record`; plain softmax where there is none."""
    if record is None:
        return LossMethod()
    return training_method(record["name"], _texts(record["options"]))


def with_options(method: TrainingMethod, texts: Sequence[str]) -> TrainingMethod:
    """The method with some of its options set otherwise, `NAME=VALUE` each.

    Raises:
        ConfigError: as for `training_method`.
    """
    return training_method(method.name, [*_texts(method.options), *texts])


def _texts(options: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in options.items()]
