"""How a pass and a fit grow with the samples N and the classes K.

    python benchmarks/scaling.py --samples 115846 --classes 100 --l2 0.01

Three sizes in turn: N/10 x K, N x K and N x 10 K. In proportion is a ratio of 10.
"""

from dataclasses import replace
from pathlib import Path

import click
from harness import Work, as_written, output_option, ratio, repeat_option, report, side_by_side
from objectives import Contest
from rows import SyntheticRows, rows_options

from marr_pipeline.rectify.fit import preset_settings

FACTOR = 10


@click.command(help=as_written(__doc__))
@rows_options(samples=115_846, classes=100)
@click.option("--l2", default=0.01, show_default=True)
@click.option("--center", default="zero", show_default=True)
@click.option("--gap", default=1e-6, show_default=True)
@repeat_option
@output_option
def main(
    rows: SyntheticRows, l2: float, center: str, gap: float, repeat: int, output: Path | None
) -> None:
    """Time all sizes in turn."""
    sizes = {
        "base": rows,
        "few samples": replace(rows, num_samples=rows.num_samples // FACTOR),
        "many classes": replace(rows, num_classes=FACTOR * rows.num_classes),
    }
    settings = preset_settings("default", l2=l2, center=center)
    contests = {name: Contest(each.inputs(), settings, gap) for name, each in sizes.items()}
    works: dict[str, Work] = {}
    for name, contest in contests.items():
        works[f"pass, {name}"] = _pass(contest)
        works[f"fit, {name}"] = lambda contest=contest: contest.fit("lbfgs")
    measured = side_by_side(works, repeat=repeat, title=f"growth, l2 {l2:g}, gap {gap:g}")
    pairs = {"samples": ("base", "few samples"), "classes": ("many classes", "base")}
    report(
        "scaling",
        measured,
        ratios={
            f"{kind}, {FACTOR} times the {what}": ratio(
                measured[f"{kind}, {large}"], measured[f"{kind}, {small}"]
            )
            for what, (large, small) in pairs.items()
            for kind in ("pass", "fit")
        },
        output=output,
        rows={name: each.record() for name, each in sizes.items()},
        settings={"l2": l2, "center": center, "gap": gap},
        passes={name: contest.fit("lbfgs").passes for name, contest in contests.items()},
    )


def _pass(contest: Contest) -> Work:
    problem, start = contest.problem(), contest.start()
    return lambda: problem.evaluate(start, precise=False)


if __name__ == "__main__":
    main()
