"""A method of a user's own: a function of training rows that gives what rectifies others.

N rows (all views of all samples), K classes, D features, in NumPy:

    fit(logits (N, K), labels (N,) int64, *, ...) -> what rectifies

Of `GIVEN` it is given what it names; what it names without a default it needs, and a cache that
lacks that is refused. The arrays are copies of the rows that are fitted, in float32 unless they are
stored in float64; no other row, and no label of one, is ever handed to it. It gives back

    {"scale": (K,), "shift": (K,)}     rectified = scale * logits + shift
    {"weight": (K, D), "bias": (K,)}   rectified = features @ weight.T + bias
    a function of logits (B, K)        and of features (B, D) where fit took them -> logits (B, K)

where scale, shift or bias may be left out. A dict may have `log_prior` (K,) beside them, the
logarithm of the class shares that the probabilities stand for; of a function that is
{"function": ..., "log_prior": ...}. A function is called on blocks of rows, so that each row must
be its own matter.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from marr_pipeline.errors import ConfigError, PluginError
from marr_pipeline.optim.solvable import FitStatus
from marr_pipeline.plugins import Function, call
from marr_pipeline.rectify.inputs import FitContext, FitInputs
from marr_pipeline.rectify.method import FitResult, Method, Need
from marr_pipeline.rectify.rectifier import FunctionRectifier, HeadRectifier, Rectifier
from marr_pipeline.rectify.settings import ON_HELD_OUT_ROWS, RectifySettings

GIVEN = ("class_counts", "prior_counts", "weight_norm", "bias", "weight", "features", "seed")
"""(K,) of the training list; (K,) that the logits stand for; (K,), (K,) or None and (K, D) of the
head; (N, D); a whole number."""
FORMS = ({"scale", "shift"}, {"scale"}, {"shift"}, {"weight", "bias"}, {"weight"}, {"function"})


def own_method(name: str, fit: Function) -> Method:
    """The method that a function is.

    Raises:
        ConfigError: it does not take logits and labels, or needs what nobody has.
    """
    asked = _asked(name, fit)

    def fit_own(inputs: FitInputs, settings: RectifySettings, context: FitContext) -> FitResult:
        rows, labels = inputs.source()
        logits = _array(rows.block(slice(0, rows.num_rows)))
        given = _given(inputs, settings, asked)
        what = f"method {name}"
        made = call(fit, logits, _array(labels), what=what, **given)
        return FitResult(
            theta=torch.zeros(0, dtype=torch.float64),
            status=FitStatus.OWN,
            rectifier=_rectifier(made, inputs, logits.dtype, "features" in given, what),
        )

    needed: dict[Need, bool] = {"features": False, "weight": False}
    needs = (need for need in needed if asked.get(need, False))
    return Method(
        fit=fit_own,
        is_fitted=False,
        needs=("logits", *needs),
        presets={"default": ON_HELD_OUT_ROWS},
    )


def _asked(name: str, fit: Function) -> dict[str, bool]:
    """What of `GIVEN` a function names, and whether it needs it."""
    try:
        parameters = [*inspect.signature(fit).parameters.values()]
    except (TypeError, ValueError):
        parameters = []
    rows, others = parameters[:2], parameters[2:]
    if len(rows) < 2 or any(each.kind is each.KEYWORD_ONLY for each in rows):
        raise ConfigError(
            f"method {name}: fit(logits, labels, *, ...) expected, got "
            f"({', '.join(map(str, parameters))}); see docs/extending.md"
        )
    named = [each for each in others if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    asked = {each.name: each.default is each.empty for each in named}
    unknown = [each for each, is_needed in asked.items() if is_needed and each not in GIVEN]
    if unknown:
        raise ConfigError(
            f"method {name}: arguments out of {', '.join(GIVEN)} expected beside logits and "
            f"labels, got {unknown[0]}; leave it out or give it a default"
        )
    return {each: is_needed for each, is_needed in asked.items() if each in GIVEN}


def _given(
    inputs: FitInputs, settings: RectifySettings, asked: Mapping[str, bool]
) -> dict[str, object]:
    """What it asks for, by name; what is not there stays at its default, or is None."""
    known: dict[str, object] = {"seed": settings.seed}
    for name in asked.keys() - {"seed"}:
        found: Tensor | None = getattr(inputs, name)
        if found is not None:
            known[name] = _array(found.flatten(0, 1) if name == "features" else found)
    return {
        name: known.get(name) for name, is_needed in asked.items() if name in known or is_needed
    }


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    """A copy in memory of its own."""
    tensor = tensor.cpu()
    is_half = tensor.dtype in (torch.float16, torch.bfloat16)
    return np.array((tensor.float() if is_half else tensor).numpy())


def _rectifier(
    made: object, inputs: FitInputs, dtype: npt.DTypeLike, has_features: bool, what: str
) -> Rectifier:
    """What a fit gave, checked."""
    if callable(made):
        made = {"function": made}
    if not isinstance(made, Mapping) or made.keys() - {"log_prior"} not in FORMS:
        got = f"a dict of {', '.join(map(str, made))}" if isinstance(made, Mapping) else repr(made)
        raise PluginError(
            f"{what}: a function, or a dict of scale and shift, of weight and bias or of function "
            f"expected from its fit, got {got}; see docs/extending.md"
        )

    def numbers(name: str, *shape: int, default: float = 0.0) -> Tensor:
        where = f"{what}: {name}"
        return _numbers(made.get(name, default), shape, where)

    num_classes = inputs.num_classes
    shares = made.get("log_prior")
    parts: dict[str, Any] = {
        "scale": numbers("scale", num_classes, default=1.0),
        "shift": numbers("shift", num_classes),
        "log_prior": None if shares is None else numbers("log_prior", num_classes).log_softmax(0),
    }
    width = None if inputs.features is None else inputs.features.shape[-1]
    if "weight" in made:
        if width is None:
            raise PluginError(f"{what}: no weight expected of rows without features, got one")
        bias = numbers("bias", num_classes)
        return HeadRectifier(**parts, weight=numbers("weight", num_classes, width), bias=bias)
    if "function" not in made:
        return Rectifier(**parts)
    function = made["function"]

    def rectified(logits: Tensor, features: Tensor | None) -> Tensor:
        rows = [logits] if features is None else [logits, features]
        arrays = [each.flatten(0, -2).numpy().astype(dtype) for each in rows]
        found = call(function, *arrays, what=what)
        flat = _numbers(found, arrays[0].shape, f"{what}: what its function gives", exact=True)
        return flat.reshape(logits.shape)

    return FunctionRectifier(
        **parts, function=rectified, num_inputs=width if has_features else None
    )


def _numbers(value: object, shape: tuple[int, ...], where: str, *, exact: bool = False) -> Tensor:
    """Finite numbers of that shape, float64; one number may stand for all of (K,).

    Raises:
        PluginError: it is no such thing.
    """
    try:
        found = torch.as_tensor(value).detach().cpu().double()
    except (TypeError, ValueError, RuntimeError) as error:
        raise PluginError(f"{where}: numbers of shape {shape} expected, got {value!r}") from error
    if found.ndim == 0 and not exact:
        found = found.expand(shape)
    if found.shape != shape:
        raise PluginError(f"{where}: shape {shape} expected, got {tuple(found.shape)}")
    is_finite = torch.isfinite(found)
    if not bool(is_finite.all()):
        bad = found[~is_finite][0].item()
        raise PluginError(f"{where}: finite numbers expected, got {bad} among them")
    return found.clone()
