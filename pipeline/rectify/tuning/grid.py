"""The settings that tuning tries."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from marr_pipeline.rectify.settings import Center, RectifySettings

TUNED = ("gamma", "l2", "center")
"""The settings that are tuned, by their names in `RectifySettings`."""

GAMMAS = (0.0, 0.4, 0.8, 1.0, 1.2, 1.6)
"""From no weighting to beyond the paper's 1.2; its Figure 4 has the same range."""
L2S = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""From a fifth of the paper's 5e-4 to what leaves logit adjustment's ranking alone."""


@dataclass(frozen=True, kw_only=True)
class GridPoint:
    """One choice of what is tuned; see `RectifySettings`."""

    gamma: float
    l2: float
    center: Center

    @classmethod
    def of(cls, settings: RectifySettings) -> "GridPoint":
        """The point that settings stand at."""
        return cls(gamma=settings.gamma, l2=settings.l2, center=settings.center)

    def applied_to(self, settings: RectifySettings) -> RectifySettings:
        """The settings with this point's values."""
        return replace(settings, **self.record())

    def num_shared(self, other: "GridPoint") -> int:
        """How many values both have: 0 to 3."""
        return sum(getattr(self, name) == getattr(other, name) for name in TUNED)

    def record(self) -> Mapping[str, Any]:
        """By name, for JSON."""
        return asdict(self)


def tuning_grid(
    settings: RectifySettings, *, fixed: Collection[str], has_shift: bool
) -> tuple[GridPoint, ...]:
    """Every combination of the values tried; the settings' own are always among them.

    Args:
        settings: the preset with the options that were given.
        fixed: names out of `TUNED` that keep the settings' value.
        has_shift: whether the method has shifts; without them a ridge to logit adjustment is
            one to the identity.
    """
    centers: tuple[Center, ...] = get_args(Center) if has_shift else ("zero", "identity")
    tried: dict[str, tuple[Any, ...]] = {
        "gamma": GAMMAS,
        "l2": L2S,
        "center": centers,
    }
    for name in TUNED:
        own = getattr(settings, name)
        tried[name] = (own,) if name in fixed else tuple(dict.fromkeys((*tried[name], own)))
    return tuple(
        GridPoint(gamma=gamma, l2=l2, center=center)
        for gamma in sorted(tried["gamma"])
        for center in tried["center"]
        for l2 in sorted(tried["l2"])
    )
