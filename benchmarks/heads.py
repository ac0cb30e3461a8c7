"""Whole heads on features, to the same loss, beside scikit-learn's logistic regression.

    python benchmarks/heads.py --samples 10847 --classes 100 --features 64 --l2 5e-4

Both minimise the class-weighted loss of `crt` with a ridge on weights and bias; scikit-learn's
intercept is a constant feature, so that its penalty is ours. How far each came is `excess`, F above
the least that anyone reached.
"""

from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from harness import as_written, output_option, ratio, repeat_option, report, side_by_side
from rows import SyntheticRows, rows_options
from sklearn.linear_model import LogisticRegression

from marr_pipeline.rectify.fit import FitResult, fit_rectifier, preset_settings
from marr_pipeline.rectify.inputs import class_weights

SOLVERS = ("newton-cg", "lbfgs")


@click.command(help=as_written(__doc__))
@rows_options(samples=10_847, classes=100)
@click.option("--l2", default=5e-4, show_default=True)
@click.option("--gap", default=1e-6, show_default=True)
@click.option("--rivals/--no-rivals", default=True, show_default=True)
@repeat_option
@output_option
def main(
    rows: SyntheticRows, l2: float, gap: float, rivals: bool, repeat: int, output: Path | None
) -> None:
    """Fit them in turn."""
    inputs = rows.inputs()
    assert inputs.features is not None
    settings = preset_settings("default", method="crt", l2=l2, tolerance=gap)
    labels = inputs.labels.numpy()
    weights = class_weights(inputs.class_counts, settings.gamma)[inputs.labels].numpy()
    matrix = inputs.features[0].double().numpy()
    with_constant = np.concatenate([matrix, np.ones((len(matrix), 1))], axis=1)
    strength = 1.0 / (l2 * weights.sum())
    found: dict[str, FitResult | LogisticRegression] = {}

    def fit(optimizer: str) -> None:
        found[optimizer] = fit_rectifier(inputs, replace(settings, optimizer=optimizer))

    def fit_sklearn(name: str, solver: str) -> None:
        model = LogisticRegression(
            C=strength, fit_intercept=False, solver=solver, tol=1e-5, max_iter=10_000
        )
        found[name] = model.fit(with_constant, labels, sample_weight=weights)

    def loss(result: FitResult | LogisticRegression) -> float:
        """F: the weighted mean of the own label's loss, and the ridge."""
        if isinstance(result, FitResult):
            assert result.loss is not None
            return result.loss
        own = result.predict_log_proba(with_constant)[np.arange(len(labels)), labels]
        ridge = 0.5 * l2 * np.square(result.coef_).sum()
        return float(-(weights * own).sum() / weights.sum() + ridge)

    theirs = {f"sklearn {solver}": solver for solver in (SOLVERS if rivals else ())}
    measured = side_by_side(
        {
            "newton": lambda: fit("newton"),
            "lbfgs": lambda: fit("lbfgs"),
            **{
                name: lambda name=name, solver=solver: fit_sklearn(name, solver)
                for name, solver in theirs.items()
            },
        },
        repeat=repeat,
        title=f"crt on {rows.num_samples:,} x {rows.num_features} -> {rows.num_classes:,}",
    )
    losses = {name: loss(result) for name, result in found.items()}
    least = min(losses.values())
    ours = {name: found[name] for name in ("newton", "lbfgs")}
    report(
        "heads",
        measured,
        ratios={f"{name} / newton": ratio(measured[name], measured["newton"]) for name in theirs},
        output=output,
        rows=rows.record(),
        settings={"method": "crt", "l2": l2, "gap": gap},
        passes={name: result.passes for name, result in ours.items()},
        gap_bound={name: result.gap_bound for name, result in ours.items()},
        excess={name: value - least for name, value in losses.items()},
    )


if __name__ == "__main__":
    main()
