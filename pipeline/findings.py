"""What a numbered check found: one sentence and what to do, under a number to look it up by.

`names.CHECKS` has the numbers, docs/checks.md a section for each, the room `checks` what finds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from marr_pipeline.errors import ConfigError
from marr_pipeline.names import CHECKS

Mute = str | Sequence[str]
"""Numbers of checks that are not to speak: `R06`, `R06,R07` or a list of them."""


@dataclass(frozen=True)
class Finding:
    """One line.

    Attributes:
        code: one of `names.CHECKS`.
        sentence: what is so.
        remedy: what to do.
    """

    code: str
    sentence: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.code}: {self.sentence} {self.remedy}"

    def record(self) -> dict[str, str]:
        """For JSON."""
        return dict(vars(self))


def muted_codes(mute: Mute) -> frozenset[str]:
    """The numbers that are muted.

    Raises:
        ConfigError: no such number.
    """
    codes = [code.strip() for code in (mute.split(",") if isinstance(mute, str) else mute)]
    for code in codes:
        if code and code not in CHECKS:
            raise ConfigError(f"mute: some of {CHECKS[0]} to {CHECKS[-1]} expected, got {code!r}")
    return frozenset(codes)


def heard(found: Iterable[Finding | None], mute: Mute = ()) -> tuple[Finding, ...]:
    """What was found and is not muted, by number; the first of each."""
    silent, spoken = muted_codes(mute), dict[str, Finding]()
    for one in found:
        if one is not None and one.code not in silent:
            spoken.setdefault(one.code, one)
    return tuple(spoken[code] for code in sorted(spoken))
