"""Fits of several methods on one cache, each with its scores."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from marr_pipeline.cache import Cache
from marr_pipeline.errors import DataError, FitError, LeakError
from marr_pipeline.files import FileName
from marr_pipeline.names import COMPARED, REFERENCES
from marr_pipeline.plugins import Function, read_plugin
from marr_pipeline.progress import Progress
from marr_pipeline.rectify.fit import (
    canonical_key,
    fit_rectifier,
    method_keys,
    parse_method_key,
    preset_settings,
)
from marr_pipeline.rectify.method import FitResult
from marr_pipeline.rectify.methods import add_method
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.report.comparison import Scored
from marr_pipeline.report.population import Floats
from marr_pipeline.workflows.cached import (
    check_needs,
    dataset_name,
    fit_inputs,
    missing_needs,
    with_fit_split,
)
from marr_pipeline.workflows.calibration import with_calibration
from marr_pipeline.workflows.distribution import moved_all
from marr_pipeline.workflows.probe import with_probe_facts
from marr_pipeline.workflows.scored_rows import EvaluationRows
from marr_pipeline.workflows.tuning import held_out_inputs, tuned_or_preset


def add_methods(files: Iterable[FileName]) -> list[str]:
    """Add the methods that Python files have in a dict `METHODS`; their names.

    Raises:
        ConfigError: a file without one, or what cannot be added, see `add_method`.
        PluginError: a file raised.
    """
    found: dict[str, Function] = {}
    for file in files:
        found |= read_plugin(Path(file), "METHODS")
    for name, fit in found.items():
        add_method(name, fit)
    return [*found]


def asked_keys(
    caches: Sequence[Cache],
    asked: Sequence[str | Function] | Literal["all"] | None,
    own: Sequence[str] = (),
) -> tuple[list[str], dict[str, str]]:
    """The methods that are compared, the references first, and what the caches lack for others.

    Args:
        caches: all of them.
        asked: keys of methods or functions of the user's own, named as they are; `names.COMPARED`
            (None) or all there are, as far as every cache can carry them.
        own: names of further methods.

    Raises:
        CacheError: one that was named lacks something.
        ConfigError: a key that does not exist.
    """
    found, skipped = [*REFERENCES], dict[str, str]()
    if asked is None or asked == "all":
        found, skipped = carried_keys(caches, COMPARED if asked is None else method_keys())
        asked = []
    keys = [canonical_key(_name_of(each)) for each in (*asked, *own)]
    for cached in caches:
        for key in keys:
            check_needs(cached, parse_method_key(key)[0])
    return list(dict.fromkeys([*found, *keys])), skipped


def _name_of(method: str | Function) -> str:
    """The key, or that of a function which is added under its own name."""
    if isinstance(method, str):
        return method
    name = str(getattr(method, "__name__", type(method).__name__)).replace("_", "-")
    add_method(name, method)
    return name


def carried_keys(caches: Sequence[Cache], keys: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The references and those of `keys` that every cache can carry; what others need, by key."""
    skipped = {}
    for key in keys:
        method, _ = parse_method_key(key)
        missing = {need for cached in caches for need in missing_needs(cached, method)}
        if missing:
            skipped[key] = f"needs {' and '.join(sorted(missing))}"
    kept = [key for key in keys if key not in skipped]
    return list(dict.fromkeys([*REFERENCES, *kept])), skipped


@dataclass(frozen=True, kw_only=True)
class Fits:
    """Methods on one cache.

    Attributes:
        scored: by key.
        rectifiers: by key.
        warnings: of each fit, by key.
        failed: by key, why a fit came to nothing.
        calibrated: keys of methods that stand for no prior, where logits are moved to another.
        unmoved: those of them that no calibration can follow.
    """

    scored: dict[str, Scored] = field(default_factory=dict)
    rectifiers: dict[str, Rectifier] = field(default_factory=dict)
    warnings: dict[str, Sequence[str]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    calibrated: list[str] = field(default_factory=list)
    unmoved: list[str] = field(default_factory=list)

    def told(self) -> list[str]:
        """Each warning once, with the methods that it is about unless it is about all of them."""
        lines = []
        for warning in dict.fromkeys(each for found in self.warnings.values() for each in found):
            about = [key for key, found in self.warnings.items() if warning in found]
            of_some = "" if len(about) == len(self.warnings) else f"{', '.join(about)}: "
            lines.append(of_some + warning)
        return lines


def fit_and_score(
    cached: Cache,
    keys: Sequence[str],
    rows: EvaluationRows,
    *,
    split: str,
    seed: int,
    target: Floats | None = None,
    files: Mapping[str, Rectifier] | None = None,
    progress: Progress,
) -> Fits:
    """Fit methods, each with a preset, and score them, and rectifiers that were fitted before.

    Args:
        cached: the cache.
        keys: of the methods.
        rows: that are scored.
        split: whose rows they are; nothing is chosen on it.
        seed: of `sgd`.
        target: class shares (K,) that logits are moved to before they are scored.
        files: rectifiers of this cache by key, scored after the methods.
        progress: told the fits.

    Raises:
        CacheError: the cache lacks what a method needs.
    """
    done = Fits()
    fitted: dict[str, tuple[FitResult, RectifySettings]] = {}
    for number, key in enumerate(keys):

        def tell(done: int, total: int, note: str = "", number: int = number) -> None:
            # Of one fit as part of all: a whole head may take minutes.
            progress(number, len(keys), f"{keys[number]}: {note}")

        progress(number, len(keys), key)
        method, preset = parse_method_key(key)
        dataset = dataset_name(cached)
        settings = preset_settings(preset, method=method, dataset=dataset, seed=seed)
        settings = with_fit_split(cached, settings)
        try:
            inputs, lacking = fit_inputs(cached, settings)
            settings, tuning, tuned = tuned_or_preset(cached, inputs, settings, eval_split=split)
            fit = fit_rectifier(
                inputs,
                settings,
                dataset=dataset,
                metadata={"tuning": None if tuning is None else tuning.summary()},
                held_out=held_out_inputs(cached, settings, inputs.device),
                progress=tell,
            )
        except (FitError, DataError, LeakError) as error:
            where = str(cached.path)
            done.failed[key] = str(error) if where in str(error) else f"{where}: {error}"
            continue
        if target is not None and fit.rectifier.log_prior is None:
            rectifier = with_calibration(cached, fit, inputs, settings, is_tuned=tuning is not None)
            fit = replace(fit, rectifier=rectifier)
        fitted[key] = fit, settings
        done.rectifiers[key] = fit.rectifier
        done.warnings[key] = (*lacking, *tuned, *fit.warnings)
    progress(len(keys), len(keys))
    done.rectifiers.update(files or {})
    moved, calibrated, unmoved = moved_all(done.rectifiers, target)
    done.calibrated.extend(calibrated)
    done.unmoved.extend(unmoved)
    for key, (fit, settings) in fitted.items():
        scored = rows.scored(replace(fit, rectifier=moved[key]), settings)
        done.scored[key] = with_probe_facts(cached, key, scored)
    for key in files or {}:
        done.scored[key] = _of_file(rows, moved[key], done.scored)
    return done


def _of_file(rows: EvaluationRows, rectifier: Rectifier, fitted: Mapping[str, Scored]) -> Scored:
    """A rectifier on the rows, and what its file says of the fit.

    How many numbers were fitted it does not say; another fit of the method here has as many.
    """
    counts = (one.facts["parameters"] for one in fitted.values() if one.method == rectifier.method)
    scores, said = rows.scores(rectifier), rectifier.metadata
    averages = rows.averages(rectifier, scores)
    return Scored(
        method=rectifier.method,
        status=str(said.get("status", "closed_form")),
        fit_split=said.get("fit_split"),
        scores=scores,
        facts={
            "margin_correlation": averages.margin_correlation,
            "logit_correlation": averages.logit_correlation,
            "parameters": next(counts, float("nan")),
            "seconds": float(said.get("seconds", "nan")),
        },
    )
