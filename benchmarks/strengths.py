"""What the default pull is worth, on the logits of classifiers of many kinds.

    python benchmarks/strengths.py [CACHE ...] [--first-seed 100] [-o FILE.json]

Long tails of 2 to 20 classes and 132 to 4,000 rows (scikit-learn's `make_classification`, seeds
from `--first-seed` on, and its digits and tumours), each with six classifiers: what they say of
their own training rows (`seen`), and by five folds of rows that they have not seen (`held-out`).
The rule of `marr_pipeline.rectify.strengths` was chosen on seeds 0-7, 100-107 and 300-347. CACHES,
with balanced test rows, add their training rows (`seen`) and half of each class's test rows
(`held-out`), scored on the other half.

Scores are of balanced test rows: mean class accuracy and likelihood. `lead` is in points over the
better of softmax and logit adjustment. The table is Markdown.
"""

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
from harness import as_written, machine
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from marr_pipeline.progress import ProgressLine
from marr_pipeline.rectify.fit import fit_rectifier, preset_settings
from marr_pipeline.rectify.inputs import FitInputs
from marr_pipeline.rectify.settings import FittedRows
from marr_pipeline.workflows.cached import fit_inputs, opened, with_fit_split
from marr_pipeline.workflows.scored_rows import evaluation_rows

TAILS = (
    (2, 400, 18, 1.0),
    (2, 3000, 50, 0.7),
    (3, 1000, 20, 0.8),
    (5, 2000, 100, 1.0),
    (8, 2000, 60, 1.0),
    (20, 800, 80, 1.5),
    (2, 120, 10, 1.0),
    (4, 300, 60, 1.0),
)
"""Classes, rows of the most common one, its rows over the rarest's, and how far classes lie."""
BEFORE = {"gamma": 1.2, "l2": 3.0, "scale_l2": 0.2, "memorised": 0.0}
"""The default that the rule has replaced."""
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "softmax": ("softmax", {}),
    "logit-adjustment": ("logit-adjustment", {}),
    "marr": ("marr", {}),
    "fixed": ("marr", BEFORE),
    "marr:paper": ("marr:paper", {}),
}
SMALLEST = 1e-6
"""Probability that a classifier's own zeros are read as."""
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Rows to fit and balanced rows to score."""

    name: str
    inputs: FitInputs
    test: torch.Tensor
    labels: torch.Tensor

    def scores(self, logits: torch.Tensor) -> tuple[float, float, float]:
        """Balanced accuracy in per cent, its standard error, and balanced NLL."""
        own = logits.gather(1, self.labels[:, None])[:, 0]
        nll, right = logits.logsumexp(1) - own, (logits.argmax(1) == self.labels).double()
        rows = torch.bincount(self.labels).double()
        rows_of = rows[rows > 0]
        rate = torch.bincount(self.labels, right)[rows > 0] / rows_of
        error = (rate * (1 - rate) / rows_of).sum().sqrt() / len(rows_of)
        loss = torch.bincount(self.labels, nll)[rows > 0] / rows_of
        return 100 * float(rate.mean()), 100 * float(error), float(loss.mean())


def classifiers(seed: int) -> dict[str, Any]:
    """Linear, memorising, bagged, boosted and naive ones."""
    return {
        "linear": make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
        "network": make_pipeline(
            StandardScaler(), MLPClassifier((128,), max_iter=300, alpha=1e-5, random_state=seed)
        ),
        "forest": RandomForestClassifier(200, random_state=seed),
        "pruned forest": RandomForestClassifier(200, min_samples_leaf=10, random_state=seed),
        "boosted": HistGradientBoostingClassifier(random_state=seed, max_iter=80),
        "naive": make_pipeline(StandardScaler(), GaussianNB()),
    }


def log_probabilities(model: Any, rows: Any, num_classes: int) -> Floats:
    """(N, K); a class that the model does not know has the smallest."""
    found = np.full((len(rows), num_classes), SMALLEST)
    found[:, model.classes_] = np.clip(model.predict_proba(rows), SMALLEST, 1)
    return np.log(found).astype(np.float32)


def problem(
    name: str, fitted: Floats, y: Labels, test: Floats, test_y: Labels, rows: FittedRows
) -> Problem:
    """Of logits whose classifier knew the class counts of y."""
    counts = torch.from_numpy(np.bincount(y, minlength=fitted.shape[1]))
    inputs = FitInputs(
        logits=torch.from_numpy(fitted)[None],
        labels=torch.from_numpy(y),
        class_counts=counts,
        prior_counts=counts,
        weight_norm=torch.ones(len(counts), dtype=torch.float64),
        rows=rows,
    )
    return Problem(
        name=f"{name}, {rows}",
        inputs=inputs,
        test=torch.from_numpy(test).double(),
        labels=torch.from_numpy(test_y),
    )


def of_table(
    name: str, x: Any, y: Labels, *, most: int, ratio: float, seed: int
) -> Iterator[Problem]:
    """A long tail cut from a table, with each classifier; a third of each class is test."""
    generator = np.random.default_rng(seed)
    num_classes = int(y.max()) + 1
    train, test = [], []
    for label in range(num_classes):
        own = generator.permutation(np.flatnonzero(y == label))
        held = max(10, len(own) // 3)
        count = max(3, round(most * ratio ** (-label / (num_classes - 1))))
        test.append(own[:held])
        train.append(own[held : held + count])
    rows, scored = np.concatenate(train), np.concatenate(test)
    for kind, model in classifiers(seed).items():
        model.fit(x[rows], y[rows])
        told = log_probabilities(model, x[scored], num_classes)
        own = log_probabilities(model, x[rows], num_classes)
        yield problem(f"{name}, {kind}", own, y[rows], told, y[scored], "seen")
        if min(map(len, train)) < 5:
            continue
        unseen = np.empty_like(own)
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        for kept, left in folds.split(rows, y[rows]):
            part = classifiers(seed)[kind].fit(x[rows[kept]], y[rows[kept]])
            unseen[left] = log_probabilities(part, x[rows[left]], num_classes)
        yield problem(f"{name}, {kind}", unseen, y[rows], told, y[scored], "held-out")


def of_tables(first_seed: int) -> Iterator[Problem]:
    """Every long tail with every classifier."""
    for seed, (classes, most, ratio, separation) in enumerate(TAILS, start=first_seed):
        x, y = make_classification(
            min(40_000, 12_000 * max(1, classes // 2)),
            30,
            n_informative=12,
            n_redundant=5,
            n_classes=classes,
            class_sep=separation,
            flip_y=0.05,
            random_state=seed,
        )
        yield from of_table(f"K={classes}, n={most}", x, y, most=most, ratio=ratio, seed=seed)
    digits = load_digits(return_X_y=True)
    yield from of_table("digits", *digits, most=110, ratio=30, seed=first_seed)
    x, y = load_breast_cancer(return_X_y=True)
    yield from of_table("tumours", x, 1 - y, most=230, ratio=10, seed=first_seed)


def of_cache(path: Path) -> Iterator[Problem]:
    """Its training rows, and half of its test rows, of each class every other one."""
    cached = opened(path)
    inputs, _ = fit_inputs(cached, with_fit_split(cached, preset_settings("paper")))
    rows = evaluation_rows(cached, "test")
    place = torch.empty_like(rows.labels)
    place[rows.labels.argsort(stable=True)] = torch.arange(len(place))
    half = place % 2 == 0
    kept = {"test": rows.logits[~half].double(), "labels": rows.labels[~half]}
    yield Problem(name=f"{path.stem}, seen", inputs=inputs, **kept)
    held = replace(
        inputs,
        logits=rows.logits[half][None],
        labels=rows.labels[half],
        features=None,
        rows="held-out",
    )
    yield Problem(name=f"{path.stem}, held-out", inputs=held, **kept)


def measure(one: Problem) -> dict[str, Any]:
    """Every method's scores, and of the default what it was fitted with."""
    found: dict[str, Any] = {"problem": one.name, "rows": one.inputs.rows}
    for name, (key, given) in METHODS.items():
        method, _, preset = key.partition(":")
        settings = preset_settings(preset or "default", method=method, **given)
        rectifier = fit_rectifier(one.inputs, settings).rectifier
        accuracy, error, nll = one.scores(rectifier.apply(one.test))
        found[name] = {"balanced": accuracy, "standard_error": error, "nll": nll}
        if name == "marr":
            told = rectifier.metadata
            found |= {key: told[key] for key in ("l2", "scale_l2", "memorised")}
    return found


def kind(found: dict[str, Any]) -> str:
    """What is told apart in the table."""
    if found["rows"] == "held-out":
        return "held-out rows"
    return "memorised rows" if found["memorised"] > 0.5 else "seen rows, not memorised"


def table(results: list[dict[str, Any]]) -> str:
    """One line a kind of rows and method."""
    lines = [
        "| rows | problems | method | lead, mean | least lead (standard errors) | "
        "NLL over logit adjustment's | NLL above both |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(map(kind, results)):
        chosen = [found for found in results if kind(found) == name]
        for method in ("marr", "fixed", "marr:paper"):
            leads, in_errors, ratios, above = [], [], [], 0
            for found in chosen:
                base = [found["softmax"], found["logit-adjustment"]]
                lead = found[method]["balanced"] - max(each["balanced"] for each in base)
                leads.append(lead)
                errors = [each["standard_error"] for each in (found[method], *base)]
                in_errors.append(lead / max(errors))
                ratios.append(found[method]["nll"] / base[1]["nll"])
                above += found[method]["nll"] > max(each["nll"] for each in base)
            least = int(np.argmin(in_errors))
            ratio = float(np.exp(np.mean(np.log(ratios))))
            lines.append(
                f"| {name} | {len(chosen)} | {method} | {np.mean(leads):+.2f} | "
                f"{leads[least]:+.2f} ({in_errors[least]:+.1f}) | {ratio:.2f} | {above} |"
            )
    return "\n".join(lines)


@click.command(help=as_written(__doc__))
@click.argument("caches", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--first-seed", type=int, default=100, show_default=True)
@click.option("--limit", type=int, help="Only so many problems of tables and of each cache.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The record, JSON.")
def main(caches: tuple[Path, ...], first_seed: int, limit: int | None, output: Path | None) -> None:
    """Make, fit, score, print."""
    warnings.simplefilter("ignore")
    problems: list[Iterator[Problem]] = [of_tables(first_seed), *map(of_cache, caches)]
    line = ProgressLine("fitting", unit=" problems")
    results: list[dict[str, Any]] = []
    for source in problems:
        for one in islice(source, limit):
            results.append(measure(one))
            line(len(results), max(len(results), 110 + 2 * len(caches)), one.name)
    click.echo(table(results))
    if output is not None:
        record = {"first_seed": first_seed, "machine": machine(), "problems": results}
        output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
