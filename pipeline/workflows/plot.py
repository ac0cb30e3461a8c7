"""Figures from a cache and rectifiers, each with the numbers it shows."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from marr_pipeline.cache import CacheError
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.groups import shot_groups
from marr_pipeline.names import REFERENCES
from marr_pipeline.optim.solvable import FitStatus
from marr_pipeline.plots.class_axis import ClassAxis
from marr_pipeline.plots.classwise import ClassScores, draw_classwise
from marr_pipeline.plots.confusion import draw_confusion
from marr_pipeline.plots.curves import ClassCurves, draw_curves
from marr_pipeline.plots.forest import Difference, draw_forest
from marr_pipeline.plots.gamma import GammaCurve, draw_gamma
from marr_pipeline.plots.geometry import PlaneHead, draw_geometry, plane_basis
from marr_pipeline.plots.parameters import LogitParameters, MarginParameters, draw_parameters
from marr_pipeline.plots.priors import PriorValues, draw_priors
from marr_pipeline.plots.reliability import ReliabilityBins, draw_reliability
from marr_pipeline.plots.save import Drawing, save_drawing
from marr_pipeline.plots.style import Width
from marr_pipeline.progress import Progress, silent
from marr_pipeline.rectify.fit import preset_settings
from marr_pipeline.rectify.methods import METHODS
from marr_pipeline.rectify.rectifier import HeadRectifier, Rectifier
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.report import metrics
from marr_pipeline.report.bootstrap import Bootstrap
from marr_pipeline.report.comparison import Scored, Standing, compare_methods, difference_key
from marr_pipeline.report.metrics import confusion_counts, measure
from marr_pipeline.report.population import as_sampled, under_distribution
from marr_pipeline.report.priors import tilted, under_priors
from marr_pipeline.report.tables import SIGNIFICANT
from marr_pipeline.workflows.cached import CacheLike, closed_form, dataset_name
from marr_pipeline.workflows.evaluate import Evaluation, evaluate
from marr_pipeline.workflows.sweep import SETTINGS, parse_rows, read_sweep, sweep


def curves(axis: ClassAxis, evaluation: Evaluation, width: Width) -> Drawing:
    """Average logit, margin and accuracy of each class, head to tail (Figures 1 and 5)."""
    _only_page("curves", width)
    found = {}
    for key, rectifier in evaluation.rectifiers.items():
        scores = evaluation.rows.scores(rectifier)
        averages = evaluation.rows.averages(rectifier, scores)
        accuracy = measure(scores, axis.class_counts).per_class
        found[key] = ClassCurves(accuracy=accuracy, **vars(averages))
    return draw_curves(axis, found)


def confusion(axis: ClassAxis, evaluation: Evaluation, width: Width) -> Drawing:
    """Confusion matrices side by side (Figure 3c and d)."""
    _only_page("confusion", width)
    counts = {
        key: confusion_counts(evaluation.rows.scores(rectifier), axis.num_classes)
        for key, rectifier in evaluation.rectifiers.items()
    }
    return draw_confusion(axis, counts)


def classwise(axis: ClassAxis, evaluation: Evaluation, width: Width) -> Drawing:
    """Accuracy and F1 of each class, head to tail, before and after (Figure 6)."""
    scores = {
        key: ClassScores(
            accuracy=found.per_class,
            f1=found.class_f1,
            overall=found.overall,
            macro_f1=found.macro_f1,
        )
        for key, found in evaluation.metrics().items()
    }
    return draw_classwise(axis, scores, width=width)


def gamma(
    axis: ClassAxis,
    evaluation: Evaluation,
    width: Width,
    *,
    swept: Path | None = None,
    progress: Progress = silent,
) -> Drawing:
    """Accuracy against gamma, beside softmax and logit adjustment (Figure 4).

    A curve for each rectifier, swept at its own settings and marked at its own gamma; without one
    for the default preset. From a table of `sweep` a curve for each combination of the other
    settings.

    Raises:
        ConfigError: a rectifier with nothing to fit, or several beside a table.
        DataError: no table of a sweep of this split over gamma.
    """
    cached = evaluation.cached
    fitted = {k: v for k, v in evaluation.rectifiers.items() if k not in REFERENCES}
    settings = {name: _settings_of(name, one) for name, one in fitted.items()}
    if swept is not None:
        if len(settings) > 1:
            raise ConfigError(
                f"--sweep: at most one rectifier, whose gamma is marked, expected beside a table, "
                f"got {len(settings)}; leave the others out"
            )
        rows = read_sweep(swept)
        at = next(iter(settings.values())).gamma if settings else None
        return draw_gamma(_gamma_curves(rows, at), _references(evaluation, rows), width=width)
    default = preset_settings("default", dataset=dataset_name(cached))
    curves: dict[str, GammaCurve] = {}
    for name, one in (settings or {f"{default.method} (default)": default}).items():
        grid = {"gamma": sorted({*GAMMAS, one.gamma})}
        found = sweep(
            cached,
            one,
            grid,
            eval_split=evaluation.split,
            resamples=RESAMPLES,
            progress=progress,
        )
        rows = parse_rows(found.csv())
        curves[name] = next(iter(_gamma_curves(rows, one.gamma).values()))
    return draw_gamma(curves, _references(evaluation, rows), width=width)


def _settings_of(name: str, rectifier: Rectifier) -> RectifySettings:
    """Of the fit that a rectifier came from, solved exactly where it was by SGD."""
    if not METHODS[rectifier.method].is_fitted:
        raise ConfigError(
            f"gamma: a rectifier that was fitted with class weights expected, got {name}; leave it "
            "out"
        )
    known = {field.name for field in fields(RectifySettings)} & set(rectifier.metadata)
    found = {key: rectifier.metadata[key] for key in known}
    if found.get("optimizer") == "sgd":
        found |= {"optimizer": "lbfgs"}
    return RectifySettings(**found)


def _gamma_curves(rows: Sequence[Mapping[str, str]], chosen: float | None) -> dict[str, GammaCurve]:
    """A curve for each combination of the other settings; `chosen` or the preset's is marked."""
    others = [name for name in (*SETTINGS, "views") if name != "gamma"]
    groups: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
    for row in rows:
        if row["gamma"]:
            groups.setdefault(tuple(row[name] for name in others), []).append(row)
    curves = {}
    for key, points in groups.items():
        points = sorted(points, key=lambda row: float(row["gamma"]))
        first = dict(zip(others, key, strict=True))
        varied = [
            value if name in ("method", "preset", "center") else f"{name} {value}"
            for name, value in first.items()
            if value and len({other[others.index(name)] for other in groups}) > 1
        ]
        name = ", ".join(varied) or f"{first['method']} ({first['preset']})"
        at = chosen
        if at is None:
            at = preset_settings(first["preset"], method=first["method"]).gamma
        values = {
            each.name: np.array([float(row[each.name] or "nan") for row in points])
            for each in fields(GammaCurve)
            if each.name in points[0]
        }
        solved = np.array([float(row["status"] not in UNSOLVED) for row in points])
        curves[name] = GammaCurve(**values, is_solved=solved, chosen=at)
    if not curves or min(len(curve.gamma) for curve in curves.values()) < 2:
        raise DataError(
            "--sweep: at least two values of gamma in each curve expected, got fewer; sweep with "
            "--gamma 0:1.6:0.2"
        )
    return curves


def _references(
    evaluation: Evaluation, rows: Sequence[Mapping[str, str]]
) -> dict[str, tuple[float, float]]:
    """Accuracy and NLL of the references, by name.

    Raises:
        DataError: the rows are of another cache or split.
    """
    found = {row["name"]: (float(row["overall"]), float(row["nll"])) for row in rows}
    for name in REFERENCES:
        own = evaluation.rows.metrics(evaluation.rectifiers[name]).overall
        if name not in found or abs(found[name][0] - own) > SAME_ACCURACY:
            raise DataError(
                f"--sweep: a table of {evaluation.cached.path}, split {evaluation.split}, "
                f"expected, whose {name} has {own:.4f}, got "
                f"{found[name][0] if name in found else 'none'}; sweep this cache"
            )
    return {name: found[name] for name in REFERENCES}


def priors(axis: ClassAxis, evaluation: Evaluation, width: Width) -> Drawing:
    """Accuracy and likelihood of each method under priors from training to its reverse."""
    scores = {key: evaluation.rows.scores(one) for key, one in evaluation.rectifiers.items()}
    curves = under_priors(scores, axis.class_counts, EXPONENTS)
    values = {key: PriorValues(**vars(curve)) for key, curve in curves.items()}
    ends = tilted(axis.class_counts, 1.0)
    return draw_priors(EXPONENTS, float(ends.max() / ends.min()), values, width=width)


def reliability(axis: ClassAxis, evaluation: Evaluation, width: Width) -> Drawing:
    """Accuracy against confidence, overall and of each group, before and after."""
    rows = evaluation.rows
    has_rows = np.bincount(rows.labels, minlength=axis.num_classes) > 0
    groups = {name: own for name, own in axis.groups.items() if (own & has_rows).any()}
    parts = {"overall": np.ones_like(has_rows), **(groups if len(groups) > 1 else {})}
    bins = {}
    for key, rectifier in evaluation.rectifiers.items():
        scores = rows.scores(rectifier)
        bins[key] = {
            part: ReliabilityBins(**vars(metrics.reliability(scores, members)))
            for part, members in parts.items()
        }
    return draw_reliability(bins, width=width)


def parameters(axis: ClassAxis, evaluation: Evaluation, width: Width) -> Drawing:
    """MARR's omega and beta, or scales and shifts, against the training images of a class.

    Shifts are moved to mean 0, as logit adjustment's are.

    Raises:
        ConfigError: no rectifier, or one without numbers of each class.
    """
    fitted = {k: v for k, v in evaluation.rectifiers.items() if k not in REFERENCES}
    for key, rectifier in fitted.items():
        is_alike = bool((rectifier.scale == rectifier.scale[0]).all()) and bool(
            (rectifier.shift == rectifier.shift[0]).all()
        )
        if isinstance(rectifier, HeadRectifier) or (is_alike and "omega" not in rectifier.own):
            raise ConfigError(
                f"parameters: rectifiers with a scale or shift of each class expected, got {key}; "
                "leave it out"
            )
    if not fitted:
        raise ConfigError("parameters: at least one rectifier expected, got none; give its file")
    adjusted = closed_form(evaluation.cached, "logit-adjustment")
    is_margin = all("omega" in rectifier.own for rectifier in fitted.values())

    def numbers(rectifier: Rectifier) -> MarginParameters | LogitParameters:
        scale, shift = rectifier.scale.numpy(), rectifier.centred().shift.numpy()
        if not is_margin:
            return LogitParameters(scale=scale, shift=shift)
        if "omega" in rectifier.own:
            own = rectifier.own
            return MarginParameters(omega=own["omega"].numpy(), beta=own["beta"].numpy())
        norm = evaluation.rows.weight_norm
        beta = np.divide(shift, norm, out=np.full_like(shift, np.nan), where=norm > 0)
        return MarginParameters(omega=scale, beta=beta)

    series = {key: numbers(rectifier) for key, rectifier in fitted.items()}
    return draw_parameters(axis, series, reference=numbers(adjusted), width=width)


def forest(axis: ClassAxis, evaluation: Evaluation, width: Width) -> Drawing:
    """Differences to softmax and logit adjustment in overall, balanced and few-shot accuracy.

    As `compare` has them. Balanced accuracy is that of a split with every class as often, and
    few-shot accuracy that of one with few-shot classes alone.
    """
    rows, counts = evaluation.rows, evaluation.cached.class_counts
    scored = {
        key: Scored(
            method=rectifier.method,
            status="",
            fit_split=None,
            scores=rows.scores(rectifier),
            facts={},
        )
        for key, rectifier in evaluation.rectifiers.items()
    }
    labels = rows.labels.numpy()
    populations = {"overall accuracy": as_sampled(labels, len(counts))}
    balanced = under_distribution(labels, np.ones(len(counts)))
    if balanced.is_as_sampled:
        populations = {"overall and balanced accuracy": balanced}
    else:
        populations["balanced accuracy"] = balanced
    few = axis.groups["few"].astype(np.float64)
    if few[labels].any() and not few.all():
        populations["few-shot accuracy"] = under_distribution(labels, few)
    panels = {}
    for name, population in populations.items():
        found = compare_methods(scored, counts, population=population, bootstrap=Bootstrap())
        panels[name] = {
            key: _differences(standing) for key, standing in found.items() if key != REFERENCES[0]
        }
    return draw_forest(
        panels,
        marked=f"p < {SIGNIFICANT:g} (McNemar, Holm)",
        interval="95 % interval",
        width=width,
    )


def _differences(standing: Standing) -> dict[str, Difference]:
    """Of overall accuracy to each reference but itself."""
    found = {}
    for reference in REFERENCES:
        estimate = standing.estimates.get(difference_key("overall", reference))
        if estimate is not None and estimate.interval is not None and estimate.p_holm is not None:
            low, high = estimate.interval
            found[reference] = Difference(
                value=estimate.value,
                low=low,
                high=high,
                p=estimate.p_holm,
                is_marked=estimate.is_significant,
            )
    return found


def geometry(
    axis: ClassAxis, evaluation: Evaluation, width: Width, *, classes: str | None = None
) -> Drawing:
    """Samples and hyperplanes of two classes in the plane of their rows (Figure 2).

    Raises:
        CacheError: the cache lacks features or the head's weight.
        ConfigError: no such classes, or one without samples.
        DataError: a rectifier whose hyperplanes are not in that plane.
    """
    cached, rows = evaluation.cached, evaluation.rows
    weight, bias = cached.head.weight, cached.head.bias
    if rows.features is None or weight is None:
        missing = "features" if rows.features is None else "the head's weight"
        raise CacheError(
            f"{cached.path}: features and the head's weight expected for geometry, got a cache "
            f"without {missing}; extract with --store both or import them too"
        )
    labels = rows.labels.numpy()
    pair = list(_class_pair(axis, np.bincount(labels, minlength=axis.num_classes), classes))
    is_own = np.isin(labels, pair)
    features = rows.features.numpy()[is_own].astype(np.float64)
    basis = plane_basis(weight[pair].astype(np.float64), features)
    own_bias = np.zeros(2) if bias is None else bias[pair].astype(np.float64)
    heads = {}
    for name, rectifier in evaluation.rectifiers.items():
        own_weight, constant = weight[pair], own_bias
        if isinstance(rectifier, HeadRectifier) and rectifier.num_features == 2:
            own_weight, constant = rectifier.weight[pair].numpy(), rectifier.bias[pair].numpy()
        elif rectifier.num_features is not None:
            raise DataError(
                f"geometry: rectifiers of scales and shifts expected in {weight.shape[1]} "
                f"features, got {name}, whose hyperplanes leave the plane; leave it out"
            )
        scale, shift = (part[pair].numpy() for part in (rectifier.scale, rectifier.centred().shift))
        norm = rectifier.margin_norm(torch.from_numpy(rows.weight_norm))[pair].numpy()
        heads[name] = PlaneHead(
            weight=scale[:, None] * (own_weight @ basis),
            bias=scale * constant + shift,
            margin_norm=np.where(norm > 0, norm, np.nan),
        )
    shown = [axis.names[each] or f"class {each}" for each in pair]
    is_plane = weight.shape[1] == 2
    return draw_geometry(
        features @ basis,
        (labels[is_own] == pair[1]).astype(np.int64),
        heads,
        classes=(pair[0], pair[1]),
        names=(shown[0], shown[1]),
        axis_labels=("feature 1", "feature 2") if is_plane else PLANE_AXES,
        width=width,
    )


def _class_pair(
    axis: ClassAxis, samples: npt.NDArray[np.int64], said: str | None
) -> tuple[int, int]:
    """The ids of `A,B`, names or ids; None for the commonest and the rarest that have samples."""
    present = [int(each) for each in axis.order if samples[each]]
    if said is None and len(present) > 1:
        return present[0], present[-1]
    known = {str(each): each for each in range(axis.num_classes)}
    known |= {name: each for each, name in enumerate(axis.names) if name}
    pair = [known.get(word.strip(), -1) for word in (said or "").split(",")]
    if len(set(pair)) != 2 or len(pair) != 2 or not set(pair) <= set(present):
        raise ConfigError(
            f"--classes: two classes with samples in the split, names or ids such as 0,1, "
            f"expected, got {said or f'{len(present)} with samples'}"
        )
    return pair[0], pair[1]


FIGURES: dict[str, Callable[..., Drawing]] = {
    "curves": curves,
    "confusion": confusion,
    "classwise": classwise,
    "gamma": gamma,
    "priors": priors,
    "geometry": geometry,
    "reliability": reliability,
    "parameters": parameters,
    "forest": forest,
}
BESIDE_BOTH = ("gamma", "priors", "forest")
"""Figures that show logit adjustment beside softmax whatever is asked for."""
GAMMAS = tuple(round(0.2 * step, 1) for step in range(9))
PLANE_AXES = ("along the difference of both rows of W", "across it, in their plane")
EXPONENTS = np.linspace(1.0, -1.0, 41).round(3)
RESAMPLES = 2_000
SAME_ACCURACY = 5e-4
"""Within which two machines agree, whose rounding may break near ties otherwise."""
UNSOLVED = (FitStatus.STEP_LIMIT, FitStatus.UNBOUNDED)


def labelled(rectifiers: Mapping[str, Rectifier]) -> dict[str, Rectifier]:
    """By the words of a legend: method and preset, `marr (default)`; alike ones by their key too.

    Args:
        rectifiers: by file stem, or by method if they are baselines.
    """
    names = {}
    for key, rectifier in rectifiers.items():
        preset = rectifier.metadata.get("preset")
        names[key] = f"{rectifier.method} ({preset})" if preset else rectifier.method
    times = Counter(names.values())
    return {
        name if times[name] == 1 or name == key else f"{key}: {name}": rectifiers[key]
        for key, name in names.items()
    }


def _only_page(figure: str, width: Width) -> None:
    if width != "page":
        raise ConfigError(f"{figure}: a figure of both columns' width expected, got {width}")


def plot(
    figure: str,
    cache: CacheLike,
    rectifiers: Iterable[Path] = (),
    *,
    output: Path,
    split: str = "test",
    any_head: bool = False,
    width: Width = "page",
    dpi: int | None = None,
    title: str = "",
    swept: Path | None = None,
    classes: str | None = None,
    progress: Progress = silent,
) -> list[Path]:
    """Draw a cache before and after rectifiers.

    Args:
        figure: one of `FIGURES`.
        cache: the cache.
        rectifiers: files that `rectify` wrote.
        output: `.png`, `.pdf` or `.svg`; the numbers go beside it as `.csv`.
        split: whose samples are shown.
        any_head: accept rectifiers that were fitted on another head.
        width: of a paper's two columns or, for `classwise`, of one.
        dpi: dots per inch of a `.png`; None for 200.
        title: over the figure.
        swept: for `gamma`, a table that `sweep` wrote; None to sweep now.
        classes: for `geometry`, two names or ids with a comma; None for the commonest and rarest.
        progress: told the fits of `gamma`.

    Returns:
        The files written.

    Raises:
        CacheError, DataError: as `evaluate`.
        ConfigError: no such figure, one that has not this width, or two files of one stem.
        PlotError: another ending.
    """
    if figure not in FIGURES:
        raise ConfigError(f"figure: one of {', '.join(FIGURES)} expected, got {figure}")
    for owner, option, value in (("gamma", "--sweep", swept), ("geometry", "--classes", classes)):
        if value is not None and figure != owner:
            raise ConfigError(f"{option}: the figure {owner} expected, got {figure}; leave it out")
    own: dict[str, dict[str, Any]] = {
        "gamma": {"swept": swept, "progress": progress},
        "geometry": {"classes": classes},
    }
    evaluation = evaluate(cache, rectifiers, split=split, any_head=any_head)
    drawing = draw(figure, evaluation, width=width, **own.get(figure, {}))
    return list(save_drawing(drawing, output, dpi=dpi, title=title))


def draw(figure: str, evaluation: Evaluation, *, width: Width = "page", **own: Any) -> Drawing:
    """One of `FIGURES`.

    Args:
        figure: which.
        evaluation: the references and rectifiers.
        width: of the figure.
        own: arguments that the figure alone has.
    """
    has_fits = any(key not in REFERENCES for key in evaluation.rectifiers)
    is_beside_both = figure in BESIDE_BOTH or (figure == "geometry" and not has_fits)
    beside = REFERENCES if is_beside_both else REFERENCES[:1]
    shown = {
        key: one
        for key, one in evaluation.rectifiers.items()
        if key in beside or key not in REFERENCES
    }
    evaluation = replace(evaluation, rectifiers=labelled(shown))
    cached = evaluation.cached
    axis = ClassAxis(
        class_counts=cached.class_counts,
        groups=shot_groups(cached.class_counts),
        class_names=cached.class_names,
    )
    return FIGURES[figure](axis, evaluation, width, **own)
