"""What an estimated class prior is worth where classes come otherwise, and what it stands on.

    python benchmarks/unknown_prior.py softmax.h5 [--tune 100] [-o FILE.json]

The test rows of a cache are dealt into halves again and again. Of one, so many rows a class stand
for a tune split; of the other, rows are drawn with classes as often as in each place: all alike, as
in training, and training turned around. No label of them is used but to score. The logits are the
cache's own, or of features alone those of a plain probe (`--l2`: one that is held so little that it
knows its training rows by heart). What moves them:

- nothing: softmax as it was trained; logit adjustment, for classes that are alike;
- the shares that the rows tell, from the logits as they are, from a calibration on the training
  rows (starred where the network has so many of them right that the product refuses), and on the
  tune rows;
- the place's own shares, known, with the tune calibration, which is the most that there is to gain;
- predictions matched to the uniform distribution.

Accuracy of all rows, and the total variation of an estimate from the shares of the rows, in per
cent; means over the deals. The table is Markdown.
"""

import json
import statistics
from dataclasses import replace
from pathlib import Path

import click
import torch
from harness import as_written, machine
from torch import Tensor

from marr_pipeline.progress import ProgressLine
from marr_pipeline.rectify.fit import fit_rectifier, preset_settings
from marr_pipeline.rectify.prior.calibration import (
    calibrated,
    calibration_rows,
    fit_calibration,
    shares_right,
)
from marr_pipeline.rectify.prior.estimate import target_prior
from marr_pipeline.rectify.prior.match import matching_shift
from marr_pipeline.rectify.prior.target import with_prior
from marr_pipeline.rectify.prior.unlabelled import RectifiedRows, with_estimated_prior
from marr_pipeline.rectify.rectifier import Rectifier
from marr_pipeline.rectify.strengths import MEMORISED_FROM
from marr_pipeline.workflows.cached import fit_inputs, opened
from marr_pipeline.workflows.scored_rows import closed_form, evaluation_rows

MOST_ROWS = 3_000
"""Of a place."""


def backward(counts: Tensor) -> Tensor:
    """(K,) the class of rank r has the count of the class of rank r from the other end."""
    order = counts.argsort(descending=True, stable=True)
    turned = torch.empty_like(counts)
    turned[order] = counts[order.flip(0)]
    return turned


def drawn(
    labels: Tensor,
    pool: Tensor,
    shares: Tensor,
    generator: torch.Generator,
    *,
    most: int = MOST_ROWS,
) -> Tensor:
    """Rows (M,) of a pool in which classes come in shares (K,), as many as it bears."""
    order = pool[torch.randperm(len(pool), generator=generator)]
    have = torch.bincount(labels[pool], minlength=len(shares))
    borne = float((have / shares.clamp(min=1e-9)).min())
    wanted = (min(borne, most) * shares).round().long()
    return torch.cat(
        [order[labels[order] == label][:count] for label, count in enumerate(wanted.tolist())]
    )


def classifier(cache: Path, l2: float) -> tuple[Rectifier, Tensor, Tensor]:
    """What gives the logits, and those of the clean training rows (N, K) with their labels (N,)."""
    cached = opened(cache)
    rows = evaluation_rows(cached, "train")
    found = closed_form(cached, "softmax")
    if cached.head is None:
        settings = preset_settings("default", method="head", tau=0.0, l2=l2)
        found = fit_rectifier(fit_inputs(cached, settings)[0], settings).rectifier
    return found, found.apply(rows.logits, rows.features), rows.labels


@click.command(help=as_written(__doc__))
@click.argument("cache", type=click.Path(exists=True, path_type=Path))
@click.option("--tune", default=100, show_default=True, help="Rows a class to calibrate on.")
@click.option("--deals", default=5, show_default=True)
@click.option("--l2", default=1e-5, show_default=True, help="Of the probe on features alone.")
@click.option("-o", "--output", type=click.Path(path_type=Path))
def main(cache: Path, tune: int, deals: int, l2: float, output: Path | None) -> None:
    """Deal, calibrate, estimate, score, print."""
    found, seen, seen_labels = classifier(cache, l2)
    rows = evaluation_rows(opened(cache), "test")
    logits, labels = found.apply(rows.logits, rows.features), rows.labels
    counts = torch.from_numpy(rows.class_counts).double()
    num_classes, prior = len(counts), found.log_prior
    assert prior is not None
    right = shares_right(seen_labels, seen.argmax(1), counts)
    zeros = torch.zeros(num_classes, dtype=torch.float64)
    as_is = Rectifier(
        scale=torch.ones_like(zeros), shift=zeros, log_prior=prior, metadata={"method": "softmax"}
    )

    def with_calibration(rows: Tensor, labels: Tensor) -> Rectifier:
        chosen = calibration_rows(labels, num_classes)
        known = fit_calibration(rows[chosen], labels[chosen], prior, split="tune")
        return replace(as_is, calibration=known)

    star = "*" if right[1] > MEMORISED_FROM else ""
    on_training = with_calibration(seen, seen_labels)
    uniform = torch.full_like(zeros, 1 / num_classes)
    places = {"uniform": uniform, "train": counts / counts.sum(), "backward": backward(counts)}
    places["backward"] = places["backward"] / counts.sum()
    measured: dict[str, dict[str, list[tuple[float, float | None]]]] = {}
    told = ProgressLine("deals", unit=" deals")
    for deal in range(deals):
        generator = torch.Generator().manual_seed(deal)
        halves = torch.randperm(len(labels), generator=generator).chunk(2)
        few = drawn(labels, halves[0], uniform, generator, most=tune * num_classes)
        on_tune = with_calibration(logits[few], labels[few])
        for place, shares in places.items():
            here = drawn(labels, halves[1], shares, generator)
            own = torch.bincount(labels[here], minlength=num_classes) / len(here)
            known = own.clamp(min=0.5 / len(here)).double()

            def score(
                name: str,
                rectifier: Rectifier,
                estimate: Tensor | None = None,
                *,
                place: str = place,
                here: Tensor = here,
                own: Tensor = own,
            ) -> None:
                predicted = rectifier.apply(logits[here]).argmax(1)
                accuracy = float((predicted == labels[here]).double().mean())
                away = None if estimate is None else 0.5 * float((estimate - own).abs().sum())
                measured.setdefault(name, {}).setdefault(place, []).append((accuracy, away))

            score("softmax", as_is)
            score("logit adjustment", with_prior(as_is, uniform.log()))
            raw = target_prior(logits[here], prior).shares
            score("estimated, uncalibrated", with_prior(as_is, (raw + 1e-6).log()), raw)
            for name, able in (
                (f"estimated, calibrated on training rows{star}", on_training),
                (f"estimated, calibrated on {tune} tune rows a class", on_tune),
            ):
                moved, estimate = with_estimated_prior(RectifiedRows(able, logits[here], None))
                score(name, moved, estimate.shares)
            score("its own shares, known", with_prior(calibrated(on_tune), known.log()))
            shift = matching_shift(logits[here], uniform)
            score("matched to uniform", replace(as_is, shift=shift))
        told(deal + 1, deals, "")
    means = {
        name: {place: average(each) for place, each in by_place.items()}
        for name, by_place in measured.items()
    }
    print(f"| accuracy (total variation), % | {' | '.join(places)} |\n|---|{'---:|' * len(places)}")
    for name, by_place in means.items():
        cells = [
            f"{100 * one['accuracy']:.1f}"
            + ("" if one["away"] is None else f" ({100 * one['away']:.1f})")
            for one in by_place.values()
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    share, balanced = (f"{100 * each:.1f} %" for each in right)
    print(f"training rows right: {share}, in the mean over classes {balanced}")
    if output is not None:
        document = {
            "benchmark": "unknown_prior",
            "command": f"python benchmarks/unknown_prior.py {cache.name} --tune {tune} "
            f"--deals {deals} --l2 {l2:g}",
            "fingerprint": opened(cache).fingerprint,
            "machine": machine(),
            "training_rows_right": right,
            "places": means,
        }
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def average(measured: list[tuple[float, float | None]]) -> dict[str, float | None]:
    """Of deals."""
    away = [each for _, each in measured if each is not None]
    return {
        "accuracy": statistics.fmean(accuracy for accuracy, _ in measured),
        "away": statistics.fmean(away) if away else None,
    }


if __name__ == "__main__":
    main()
