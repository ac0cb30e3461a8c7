r"""Whole heads on features, to the same loss, beside general solvers.

    python benchmarks/heads.py --data cifar100-r100-train.npz --loss plain
    python benchmarks/heads.py --samples 10847 --classes 100 --features 1280 --decay 1
    python benchmarks/heads.py --samples 115846 --classes 1000 --features 768 --decay 1 --no-rivals
    python benchmarks/heads.py --samples 1000000 --classes 1000 --features 768 --decay 1 \
        --loss logit-adjusted --solvers newton --no-rivals --mapped features.npy --memory 2

Rows have length 1 (`--normalise`). The plain probe and the class-weighted loss of `crt` are what
scikit-learn's LogisticRegression minimises too; its intercept is a constant feature here, so that
its penalty is ours. It ends by its own rule, torch's L-BFGS where its loss is within the gap of the
least. How far each came is `excess`, F above the least that anyone reached.
"""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
from harness import (
    as_written,
    memory_watch,
    output_option,
    ratio,
    repeat_option,
    report,
    side_by_side,
)
from rows import SyntheticRows, features_of, rows_options
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import cross_entropy

from marr_pipeline.rectify.fit import FitResult, fit_rectifier, preset_settings
from marr_pipeline.rectify.inputs import FitInputs, log_prior
from marr_pipeline.rectify.rows.resources import Resources
from marr_pipeline.rectify.rows.source import unit_rows
from marr_pipeline.rectify.settings import RectifySettings

OURS = ("newton", "lbfgs")
SKLEARN = ("newton-cg", "lbfgs")
LOSSES = {
    "plain": ("crt", {"gamma": 0.0, "reduction": "plain"}),
    "logit-adjusted": ("balanced-softmax-head", {}),
    "crt": ("crt", {}),
}
MAX_STEPS = 2000


class Arrived(Exception):  # noqa: N818 - a way out of a rival's solver, not an error
    """The loss is within the gap."""


class Contest:
    """F as a rival is given it: all rows at once, with a constant feature.

    Args:
        inputs: features of one view, normalised as in the settings.
        settings: of the loss.
        offset: whether the prior is there in training.
    """

    def __init__(self, inputs: FitInputs, settings: RectifySettings, *, offset: bool) -> None:
        assert inputs.features is not None
        z = inputs.features[0].float()
        z = unit_rows(z) if settings.normalise == "unit" else z
        self.rows = torch.cat([z, torch.ones_like(z[:, :1])], 1)
        self.labels = inputs.labels
        self.l2 = settings.l2 * float(z.double().square().sum(1).mean())
        prior = log_prior(inputs.class_counts)
        self.offset = prior if offset else torch.zeros_like(prior)
        weights, reduction = inputs.loss_weights(settings, "instance")
        self.weights = weights[inputs.labels]
        divisor = len(self.labels) if reduction == "plain" else float(self.weights.sum())
        self.row_shares = self.weights / divisor
        self.strength = 1.0 / (self.l2 * divisor)  # C of scikit-learn

    def loss(self, head: Tensor) -> Tensor:
        """F of a head (K, D + 1), in its dtype; differentiable."""
        logits = torch.addmm(self.offset.to(head), self.rows.to(head), head.T)
        own = cross_entropy(logits, self.labels, reduction="none")
        return self.row_shares @ own.double() + 0.5 * self.l2 * head.double().square().sum()

    def torch_lbfgs(self, target: float) -> Tensor:
        """The head where torch's L-BFGS first has F <= target, or ends."""
        head = torch.zeros(len(self.offset), self.rows.shape[1], requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [head],
            max_iter=MAX_STEPS,
            max_eval=2 * MAX_STEPS,
            history_size=20,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )

        def closure() -> float:
            value = self.loss(head)
            if value.item() <= target:
                raise Arrived
            (head.grad,) = torch.autograd.grad(value, head)
            return value.item()

        with suppress(Arrived):
            optimizer.step(closure)
        return head.detach()

    def sklearn(self, solver: str, tolerance: float) -> Tensor:
        """The head of LogisticRegression."""
        model = LogisticRegression(
            C=self.strength, fit_intercept=False, solver=solver, tol=tolerance, max_iter=MAX_STEPS
        )
        found = model.fit(
            self.rows.numpy(), self.labels.numpy(), sample_weight=self.weights.numpy()
        )
        return torch.from_numpy(found.coef_)


def read_rows(path: Path) -> FitInputs:
    """Features (N, D) and labels (N,) of an .npz."""
    with np.load(path) as file:
        return features_of(torch.from_numpy(file["features"]), torch.from_numpy(file["labels"]))


@click.command(help=as_written(__doc__))
@rows_options(samples=10_847, classes=100)
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), help=".npz")
@click.option("--mapped", type=click.Path(dir_okay=False, path_type=Path), help="A new .npy.")
@click.option("--memory", type=float, help="GiB of buffers.")
@click.option("--loss", "name", type=click.Choice(tuple(LOSSES)), default="crt", show_default=True)
@click.option("--normalise", type=click.Choice(("none", "unit")), default="unit", show_default=True)
@click.option("--l2", default=1e-5, show_default=True)
@click.option("--gap", default=1e-6, show_default=True)
@click.option("--rival-tolerance", default=1e-6, show_default=True, help="scikit-learn's `tol`.")
@click.option("--rivals/--no-rivals", default=True, show_default=True)
@click.option("--solvers", default=",".join(OURS), show_default=True, help="Ours.")
@repeat_option
@output_option
def main(
    rows: SyntheticRows,
    data: Path | None,
    mapped: Path | None,
    memory: float | None,
    name: str,
    normalise: str,
    l2: float,
    gap: float,
    rival_tolerance: float,
    rivals: bool,
    solvers: str,
    repeat: int,
    output: Path | None,
) -> None:
    """Fit them in turn."""
    inputs = rows.features_alone(mapped) if data is None else read_rows(data)
    resources = Resources(memory=None if memory is None else int(memory * 2**30))
    method, options = LOSSES[name]
    settings = preset_settings(
        "default", method=method, l2=l2, tolerance=gap, normalise=normalise, **options
    )
    fits: dict[str, FitResult] = {}
    heads: dict[str, Tensor] = {}
    peaks: dict[str, int] = {}

    def fit(optimizer: str) -> None:
        with memory_watch() as seen:
            fits[optimizer] = fit_rectifier(
                inputs, replace(settings, optimizer=optimizer), resources=resources
            )
        peaks[optimizer] = (seen["peak"] - seen["before"]) // 2**20

    ours = solvers.split(",")
    works = {each: lambda each=each: fit(each) for each in ours}
    if rivals:
        contest = Contest(inputs, settings, offset=name == "logit-adjusted")
        fit(ours[0])
        target = (fits[ours[0]].loss or 0.0) + gap
        works["torch lbfgs"] = lambda: heads.update({"torch lbfgs": contest.torch_lbfgs(target)})
    for solver in SKLEARN if rivals and name != "logit-adjusted" else ():
        works[f"sklearn {solver}"] = lambda solver=solver: heads.update(
            {f"sklearn {solver}": contest.sklearn(solver, rival_tolerance)}
        )
    assert inputs.features is not None
    _, num_samples, num_features = inputs.features.shape
    title = f"{name} on {num_samples:,} x {num_features} -> {len(inputs.class_counts):,}"
    measured = side_by_side(works, repeat=repeat, title=title)
    losses = {each: result.loss for each, result in fits.items()}
    losses |= {each: float(contest.loss(head.double())) for each, head in heads.items()}
    least = min(losses.values())
    report(
        "heads",
        measured,
        ratios={
            f"{each} / {ours[0]}": ratio(measured[each], measured[ours[0]])
            for each in measured
            if each != ours[0]
        },
        output=output,
        rows=rows.record() if data is None else {"file": data.name, "samples": num_samples},
        settings={"loss": name, "l2": l2, "gap": gap, "normalise": normalise, "gibibytes": memory},
        passes={each: result.passes for each, result in fits.items()},
        gap_bound={each: result.gap_bound for each, result in fits.items()},
        excess={each: value - least for each, value in losses.items()},
        peak_mebibytes=peaks,
    )


if __name__ == "__main__":
    main()
