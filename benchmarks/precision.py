"""What storing logits as float16 moves, beside float32.

    python benchmarks/precision.py --l2 5e-4
    python benchmarks/precision.py --cache c10.h5 --l2 5e-4

Both fits go to the same gap on the training rows; probabilities and predictions are those of both
on these rows.
"""

from dataclasses import replace
from pathlib import Path

import click
import torch
from harness import as_written, output_option, report
from rows import SyntheticRows, rows_options

from marr_pipeline.cache import open_cache
from marr_pipeline.rectify.fit import fit_rectifier, preset_settings
from marr_pipeline.workflows.cached import fit_inputs


@click.command(help=as_written(__doc__))
@rows_options(samples=10_847, classes=100)
@click.option("--cache", type=click.Path(exists=True, path_type=Path), help="Rows of this one.")
@click.option("--preset", default="default", show_default=True)
@click.option("--l2", type=float, help="[default: the preset's]")
@click.option("--gap", default=1e-9, show_default=True)
@output_option
def main(
    rows: SyntheticRows,
    cache: Path | None,
    preset: str,
    l2: float | None,
    gap: float,
    output: Path | None,
) -> None:
    """Fit both and compare."""
    given = {} if l2 is None else {"l2": l2}
    settings = preset_settings(preset, tolerance=gap, **given)
    exact = rows.inputs() if cache is None else fit_inputs(open_cache(cache), settings)[0]
    source, _ = exact.source()
    logits = source.block(slice(0, source.num_rows))
    rounded = replace(exact, logits=logits.half().reshape(exact.logits.shape))
    one, two = (fit_rectifier(inputs, settings).rectifier for inputs in (exact, rounded))
    scores = [one.apply(logits), two.apply(rounded.logits.flatten(0, 1).float())]
    probabilities = [torch.softmax(each.double(), 1) for each in scores]
    predicted = [each.argmax(1) for each in scores]
    moved = {
        "omega": float((one.own["omega"] - two.own["omega"]).abs().max()),
        "beta": float((one.own["beta"] - two.own["beta"]).abs().max()),
        "probability": float((probabilities[0] - probabilities[1]).abs().max()),
        "predictions": int((predicted[0] != predicted[1]).sum()),
    }
    report(
        "precision",
        {},
        ratios={},
        output=output,
        rows=rows.record() if cache is None else {"cache": cache.name, "rows": len(logits)},
        settings={"preset": preset, "l2": settings.l2, "gap": gap},
        moved_at_most=moved,
    )


if __name__ == "__main__":
    main()
