"""What is minimised, how, and on which rows; a preset is a named set of all of it."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

from marr_pipeline import names
from marr_pipeline.errors import ConfigError
from marr_pipeline.plugins import installed_methods

Center = Literal[
    "zero",
    "identity",
    "logit-adjustment",
    "tempered",
    "class-means",
    "gda",
    "cache",
    "file",
]
Preset = Literal["default", "paper", "official", "tempered"]
Optimizer = Literal["lbfgs", "newton", "sgd"]
Reduction = Literal["plain", "weighted"]
Sampling = Literal["instance", "class-balanced"]
Normalise = Literal["none", "unit", "standard"]
FittedRows = Literal["seen", "held-out"]


OWN_METHODS: set[str] = set()
"""Names that a user's own methods were added under, see `methods.add_method`."""
_MOST_L2 = 1e12
"""With more, rounding in float64 hides the loss behind the ridge, and a fit cannot converge."""
_MOST_SCALE = 1e12
"""Of logits: they and their products with features stay finite."""
_FINITE = ("a finite number", math.isfinite)
_NUMBERS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "memorised": ("a number from 0 to 1", lambda value: 0 <= value <= 1),
    "l2": (f"a number from 0 to {_MOST_L2:g}", lambda value: 0 <= value <= _MOST_L2),
    "scale_l2": (f"a number above 0, up to {_MOST_L2:g},", lambda value: 0 < value <= _MOST_L2),
    "tolerance": ("a number > 0", lambda value: value > 0),
    "gamma": _FINITE,
    "tau": ("a number from -100 to 100", lambda value: abs(value) <= 100),
    "alpha": _FINITE,
    "shrinkage": ("a number from 0 to 1", lambda value: 0 <= value <= 1),
    "scale": (f"a number above 0, up to {_MOST_SCALE:g},", lambda value: 0 < value <= _MOST_SCALE),
    "seed": (
        "a whole number from 0 to 2^64 - 1",
        lambda value: isinstance(value, Integral) and 0 <= int(value) <= names.MAX_SEED,
    ),
}
"""Of the fields that are numbers: what is expected, and whether a number is that."""
_OPEN = ("l2", "scale_l2", "memorised", "tau", "alpha", "shrinkage", "scale")
"""Those that a fit finds where they are None."""


@dataclass(frozen=True, kw_only=True)
class RectifySettings:
    """Settings of phase two, by default the command's; stored with whatever they produced.

    Attributes:
        method: a key of `marr_pipeline.rectify.methods.METHODS`.
        optimizer: how the minimum is sought.
        preset: where the values come from; also names the schedule of `sgd`.
        gamma: exponent of the class weights, equation 12.
        l2: strength of the ridge; for `sgd` the weight decay. Of a whole head in units of the
            features' mean square. None for what the rows can be trusted with, see `strengths`.
        center: where the ridge pulls to.
        scale_l2: strength of the ridge on the common scale of `tempered`, in units of log K; see
            `ridge`. None as for `l2`. Also on that of a whole head's centre, see `head.frame`.
        memorised: how far the rows are memorised, 0 to 1, and with it the line of `tempered`; None
            as for `l2`.
        rows: whether phase one has seen the rows that are fitted; None for what is known of them.
        reduction: `plain` divides by the rows (equation 11), `weighted` by their weights.
        tolerance: on the gap bound, in loss units; without a ridge on the gradient's norm.
        fit_split: the split that is fitted; None for the rule of post-hoc calibration, `tune` where
            there is one and else `train`.
        fit_views: which of its views.
        seed: of `sgd`'s batches and of the folds of tuning.
        tau: of logit adjustment and of tau-norm; of a whole head how much of the prior of its
            rows it sheds, 0 for a plain probe. None, of logit adjustment alone: fitted together
            with a temperature.
        free_bias: whether the ridge of a whole head leaves the bias out.
        shrinkage: of gda's covariance; None chooses it on samples held out.
        scale: of the logits of ncm and gda; None fits it on samples held out.
        keep_bias: whether tau-norm scales the head's bias with the rest or leaves it out.
        scale_bias: whether lws scales the head's bias with the rest, or W alone.
        normalise: what is done to features before a whole head: nothing, every row brought to
            length 1, or every feature to mean 0 and deviation 1 / sqrt(D) over the rows fitted.
        sampling: how `sgd` draws its rows: every sample alike, or every class alike.
        form: of disalign, as its paper or as its released code has it.
        alpha: of tde; None for the method's own rule.
    """

    method: str = "marr"
    optimizer: Optimizer = "lbfgs"
    preset: Preset = "default"
    gamma: float = 1.0
    l2: float | None = None
    center: Center = "tempered"
    scale_l2: float | None = None
    memorised: float | None = None
    rows: FittedRows | None = None
    reduction: Reduction = "weighted"
    tolerance: float = 1e-6
    fit_split: str | None = "train"
    fit_views: Literal["augmented", "clean", "all"] = "augmented"
    seed: int = 0
    tau: float | None = 1.0
    keep_bias: bool = False
    scale_bias: bool = True
    free_bias: bool = False
    shrinkage: float | None = None
    scale: float | None = None
    normalise: Normalise = "none"
    sampling: Sampling = "instance"
    form: Literal["paper", "cvpods"] = "paper"
    alpha: float | None = None

    def __post_init__(self) -> None:
        known: tuple[str, ...] = names.METHODS
        if self.method not in known:
            known = (*known, *OWN_METHODS, *installed_methods())
        for option, choices in (
            ("method", known),
            ("optimizer", names.OPTIMIZERS),
            ("preset", names.PRESETS),
            ("center", names.CENTERS),
            ("reduction", names.REDUCTIONS),
            ("fit_split", (*names.SPLITS, None)),
            ("fit_views", names.FIT_VIEWS),
            ("rows", (*names.FITTED_ROWS, None)),
            ("normalise", names.FEATURE_NORMALISATIONS),
            ("sampling", names.SAMPLINGS),
            ("form", names.DISALIGN_FORMS),
        ):
            check_choice(option, getattr(self, option), choices)
        for option, (expected, holds) in _NUMBERS.items():
            value = getattr(self, option)
            if value is None and option in _OPEN:
                continue
            if not (isinstance(value, Real) and holds(value)):
                shown = value if isinstance(value, Real) else repr(value)
                raise ConfigError(f"{option}: {expected} expected, got {shown}")
        if self.tau is None and self.method != "logit-adjustment":
            raise ConfigError(f"tau: a number expected for {self.method}, got none; give one")
        if self.sampling != "instance" and self.optimizer != "sgd":
            raise ConfigError(
                f"sampling: instance expected with optimizer {self.optimizer}, got "
                f"{self.sampling}; use sgd, or gamma 1 and the weighted mean, its expectation"
            )

    @property
    def known_tau(self) -> float:
        """`tau`, where it is no matter of the fit."""
        assert self.tau is not None
        return self.tau

    @property
    def ridge(self) -> float:
        """`l2`, where it is known.

        Raises:
            ConfigError: it is not.
        """
        if self.l2 is None:
            raise ConfigError(f"l2: a number expected for {self.method}, got none; give it")
        return self.l2


def check_choice(option: str, value: object, choices: Collection[str | None]) -> None:
    """Refuse what is none of the choices.

    Raises:
        ConfigError: it names them.
    """
    if value not in choices:
        known = ", ".join(choice for choice in choices if choice is not None)
        raise ConfigError(f"{option}: one of {known} expected, got {value}")


PRESETS: dict[str, RectifySettings] = {
    "default": RectifySettings(),
    "paper": RectifySettings(preset="paper", gamma=1.2, center="zero", l2=5e-4, reduction="plain"),
    "official": RectifySettings(
        preset="official", gamma=1.2, center="zero", l2=5e-4, optimizer="sgd"
    ),
    "tempered": RectifySettings(preset="tempered"),
}
"""`default`: classes count alike, and the pull is what the rows can be trusted with; see
`strengths`. `paper`: the paper's objective, solved exactly, and its schedule for `sgd`. `official`:
the released code's weighted mean, schedule and step counts; unlike it we keep the last iterate,
since the released code picks an epoch on the test images. `tempered`: MARR's default for a method
whose own default is its authors'."""

CLASS_BALANCED: Mapping[str, Any] = {
    "gamma": 1.0,
    "reduction": "weighted",
    "center": "zero",
    "l2": 5e-4,
}
"""Classes that count alike, exactly: in expectation a batch of class-balanced sampling has the loss
sum_i U_{y_i} CE_i / sum_i U_{y_i} over all rows, with U_j ~ 1 / n_j: the weighted mean with gamma
1. That has a minimum, sampling has noise around it."""

CLASS_BALANCED_SAMPLING: Mapping[str, Any] = {
    "optimizer": "sgd",
    "sampling": "class-balanced",
    "gamma": 0.0,
    "reduction": "plain",
    "center": "zero",
    "l2": 5e-4,
}
"""Classes that count alike by drawing them alike, as released code does (Kang et al. 2020)."""

ON_HELD_OUT_ROWS: Mapping[str, Any] = {"fit_split": None}
"""MARR's default: samples that phase one has not seen, where there are some, tell more."""

CALIBRATION: Mapping[str, Any] = {
    "gamma": 0.0,
    "reduction": "plain",
    "center": "zero",
    "l2": 0.0,
    "fit_split": None,
}
"""The likelihood alone, on samples held out where there are some (Guo et al. 2017)."""
