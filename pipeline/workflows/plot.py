"""One figure of a cache and rectifiers, and a file of the numbers it shows."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.names import REFERENCES
from marr_pipeline.plots.gamma import GammaCurve
from marr_pipeline.plots.style import Width
from marr_pipeline.progress import Progress, silent
from marr_pipeline.reading import reading
from marr_pipeline.rectify.fit import preset_settings
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.rectify.settings import RectifySettings
from marr_pipeline.workflows.cached import CacheLike, dataset_name
from marr_pipeline.workflows.evaluate import Evaluation, evaluate
from marr_pipeline.workflows.figures import FIGURES, OF_CLASSES, draw, labelled, save_figure
from marr_pipeline.workflows.figures.methods import gamma_curve
from marr_pipeline.workflows.sweep import alike_but_for, parse_rows, read_sweep, sweep

GAMMAS = tuple(round(0.2 * step, 1) for step in range(9))
RESAMPLES = 2_000
SAME_ACCURACY = 5e-4
"""Within which two machines agree, whose rounding may break near ties otherwise."""


def plot(
    figure: str,
    cache: CacheLike,
    rectifiers: Iterable[Path] = (),
    *,
    output: Path,
    overwrite: bool = False,
    split: str = "test",
    groups: str | None = None,
    any_head: bool = False,
    width: Width = "page",
    dpi: int | None = None,
    title: str = "",
    is_named: bool | None = None,
    swept: Path | None = None,
    classes: str | None = None,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda warning: None,
) -> list[Path]:
    """Draw a cache before and after rectifiers.

    Args:
        figure: one of `FIGURES`.
        cache: the cache.
        rectifiers: files that `rectify` wrote.
        output: `.png`, `.pdf` or `.svg`; the numbers go beside it as `.csv`.
        overwrite: replace whatever files are there, not a figure and its numbers alone.
        split: whose samples are shown.
        groups: cuts between the shot groups, as `parse_cuts` takes them.
        any_head: accept rectifiers that were fitted on another head.
        width: of a paper's two columns or, for `classwise`, of one.
        dpi: dots per inch of a `.png`; None for 200.
        title: over the figure.
        is_named: whether names, or ids where there are none, stand along the classes of a figure;
            None for up to 40 names.
        swept: for `gamma`, a table that `sweep` wrote; None to sweep now.
        classes: for `geometry`, two names or ids with a comma; None for the commonest and rarest.
        progress: told the fits of `gamma`.
        say: told what of the result needs a look.

    Returns:
        The files written.

    Raises:
        CacheError, DataError: as `evaluate`.
        ConfigError: no such figure, one that has not this width, or two files of one stem.
        PlotError: another ending.
    """
    if figure not in FIGURES:
        raise ConfigError(f"figure: one of {', '.join(FIGURES)} expected, got {figure}")
    for owners, option, value in (
        (("gamma",), "--sweep", swept),
        (("geometry",), "--classes", classes),
        (OF_CLASSES, "--no-names" if is_named is False else "--names", is_named),
    ):
        if value is not None and figure not in owners:
            expected = " or ".join(owners)
            raise ConfigError(
                f"{option}: the figure {expected} expected, got {figure}; leave it out"
            )
    evaluation = evaluate(
        cache, rectifiers, split=split, groups=groups, any_head=any_head, progress=progress
    )
    for warning in evaluation.warnings:
        say(warning)
    own: dict[str, Any] = {}
    if figure == "gamma":
        own = {"swept": _swept(evaluation, swept, groups, progress)}
    elif figure == "geometry":
        own = {"classes": classes}
    drawing = draw(figure, evaluation, width=width, is_named=is_named, **own)
    return save_figure(drawing, output, dpi=dpi, title=title, overwrite=overwrite)


def _swept(
    evaluation: Evaluation, table: Path | None, groups: str | None, progress: Progress
) -> dict[str, GammaCurve]:
    """The curves of `gamma`.

    One for each rectifier, swept at its own settings and marked at its own gamma; without one for
    the default preset. From a table of `sweep` one for each combination of the other settings.
    """
    fitted = labelled({k: v for k, v in evaluation.rectifiers.items() if k not in REFERENCES})
    settings = {name: _settings_of(name, one) for name, one in fitted.items()}
    if table is not None:
        if groups is not None:
            raise ConfigError(
                f"--groups: no table of a sweep beside them expected, got {table}, which has the "
                "groups that it was swept with; leave one out"
            )
        if len(settings) > 1:
            raise ConfigError(
                f"--sweep: at most one rectifier, whose gamma is marked, expected beside a table, "
                f"got {len(settings)}; leave the others out"
            )
        chosen = next(iter(settings.values())).gamma if settings else None
        with reading(table, "a table of `pipeline sweep -o`", "sweep again with -o"):
            rows = read_sweep(table)
            _check_same(evaluation, rows)
            found = {
                name: gamma_curve(points, chosen)
                for name, points in alike_but_for("gamma", rows).items()
            }
        if not found or min(len(one.gamma) for one in found.values()) < 2:
            raise DataError(
                f"{table}: at least two values of gamma in each curve expected, got fewer; sweep "
                "with --gamma 0:1.6:0.2"
            )
        return found
    default = preset_settings("default", dataset=dataset_name(evaluation.cached))
    curves = {}
    for name, one in (settings or {f"{default.method} (default)": default}).items():
        done = sweep(
            evaluation.cached,
            one,
            {"gamma": sorted({*GAMMAS, one.gamma})},
            eval_split=evaluation.split,
            groups=groups,
            resamples=RESAMPLES,
            progress=progress,
        )
        (points,) = alike_but_for("gamma", parse_rows(done.csv())).values()
        curves[name] = gamma_curve(points, one.gamma)
    return curves


def _settings_of(name: str, rectifier: Rectifier) -> RectifySettings:
    """Of the fit that a rectifier came from, solved exactly where it was by SGD."""
    if rectifier.metadata.get("loss") is None:
        raise ConfigError(
            f"gamma: a rectifier that was fitted with class weights expected, got {name}; leave it "
            "out"
        )
    known = {field.name for field in fields(RectifySettings)} & set(rectifier.metadata)
    found = {key: rectifier.metadata[key] for key in known}
    if found.get("optimizer") == "sgd":
        found |= {"optimizer": "lbfgs"}
    with reading(name, "a rectifier with the settings of its fit", "fit again"):
        return RectifySettings(**found)


def _check_same(evaluation: Evaluation, rows: Iterable[Mapping[str, str]]) -> None:
    """Refuse a table of another cache or split, by the accuracy of the references."""
    found = {row["name"]: float(row["overall"]) for row in rows}
    for name in REFERENCES:
        own = evaluation.rows.metrics(evaluation.rectifiers[name]).overall
        if name not in found or abs(found[name] - own) > SAME_ACCURACY:
            raise DataError(
                f"--sweep: a table of {evaluation.cached.path}, split {evaluation.split}, "
                f"expected, whose {name} has {own:.4f}, got {found.get(name, 'none')}; sweep this "
                "cache"
            )
