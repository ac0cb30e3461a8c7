"""The rows of `ablations.py`: what each changes of the paper's phase two, and its base."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

GAMMAS = [round(0.2 * step, 1) for step in range(9)]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fit of MARR.

    Attributes:
        base: the row that it is set against; None for a base.
        preset: that `changes` are laid over.
        changes: fields of the settings.
        views: augmented views that are fitted; None for all.
        is_other: whether the rows are those of the second cache of a pair.
        is_leak: whether of all epochs of SGD the best on test is taken.
    """

    base: str | None = None
    preset: str = "paper"
    changes: Mapping[str, Any] = field(default_factory=dict)
    views: int | None = None
    is_other: bool = False
    is_leak: bool = False


def changed(base: str | None = None, preset: str = "paper", **changes: Any) -> Row:
    """A row of a preset with some settings changed."""
    return Row(base=base, preset=preset, changes=changes)


def _views() -> Iterator[tuple[str, Row]]:
    for name, first in (
        ("paper", changed()),
        ("default", changed(preset="default")),
        ("paper, gamma 0", changed(gamma=0.0)),
    ):
        base = f"{name}, all views"
        yield base, first
        of_clean = {**first.changes, "fit_views": "clean"}
        yield f"{name}, clean", replace(first, base=base, changes=of_clean)
        yield from (
            (f"{name}, {views} augmented", replace(first, base=base, views=views))
            for views in (1, 2)
        )


def _batch_norm() -> Iterator[tuple[str, Row]]:
    for name, first in (
        ("paper", changed()),
        ("official", changed(preset="official")),
        ("default", changed(preset="default")),
        ("paper, gamma 0", changed(gamma=0.0)),
        ("official, gamma 0", changed(preset="official", gamma=0.0)),
    ):
        yield f"{name}, eval", first
        yield f"{name}, train", replace(first, base=f"{name}, eval", is_other=True)


def _norm() -> Iterator[tuple[str, Row]]:
    for name, first in (
        ("paper", changed()),
        ("paper's SGD", changed(optimizer="sgd")),
        ("official", changed(preset="official")),
        ("default", changed(preset="default")),
        ("paper, to identity", changed(center="identity")),
    ):
        yield f"{name}, w", first
        # MARR with every norm 1 is vector scaling.
        unit = {**first.changes, "method": "vector-scaling"}
        yield f"{name}, w = 1", replace(first, base=f"{name}, w", changes=unit)


def _center() -> Iterator[tuple[str, Row]]:
    for l2 in (5e-4, 3.0):
        base = f"zero, l2 {l2:g}"
        yield base, changed(None if l2 == 5e-4 else "zero, l2 0.0005", l2=l2)
        for center in ("identity", "logit-adjustment"):
            yield f"{center}, l2 {l2:g}", changed(base, center=center, l2=l2)
        # Of one strength: along the line of all temperatures nothing but the rows decides.
        free = {"scale_l2": 5e-4, "memorised": 0.0}
        yield f"tempered, l2 {l2:g}", changed(base, center="tempered", l2=l2, **free)
    yield "no ridge", changed("zero, l2 0.0005", l2=0.0)
    yield "default", changed("zero, l2 0.0005", "default")


def _tau() -> Iterator[tuple[str, Row]]:
    for gamma in (1.2, 1.0):
        base = f"logit-adjustment, tau {gamma}"
        yield base, changed(None, "default", method="logit-adjustment", tau=gamma)
        yield f"paper, gamma {gamma}", changed(base, gamma=gamma)
        yield f"official, gamma {gamma}", changed(base, "official", gamma=gamma)
        light = {"center": "tempered", "l2": 5e-4, "scale_l2": 5e-4, "memorised": 0.0}
        yield f"tempered, l2 0.0005, gamma {gamma}", changed(base, gamma=gamma, **light)


def _selection() -> Iterator[tuple[str, Row]]:
    for gamma, seed in ((1.2, 0), (1.2, 1), (1.2, 2), (0.0, 0)):
        last = changed(preset="official", gamma=gamma, seed=seed)
        name = f"gamma {gamma}, seed {seed}"
        yield f"{name}, last", last
        yield f"{name}, best on test", replace(last, base=f"{name}, last", is_leak=True)


ABLATIONS: dict[str, dict[str, Row]] = {
    "reduction": {
        "plain": changed(),
        "weighted": changed("plain", reduction="weighted"),
        "plain, paper's SGD": changed("plain", optimizer="sgd"),
        "weighted, paper's SGD": changed("plain", optimizer="sgd", reduction="weighted"),
        "plain, official SGD": changed("plain", "official", reduction="plain"),
        "weighted, official SGD": changed("plain", "official"),
    },
    "center": dict(_center()),
    "batch-norm": dict(_batch_norm()),
    "views": dict(_views()),
    "gamma": {
        f"{preset}, gamma {gamma}": changed(
            None if gamma == base else f"{preset}, gamma {base}", preset, gamma=gamma
        )
        for preset, base in (("paper", 1.2), ("default", 1.0))
        for gamma in GAMMAS
    },
    "norm": dict(_norm()),
    "tau": dict(_tau()),
    "selection": dict(_selection()),
}
