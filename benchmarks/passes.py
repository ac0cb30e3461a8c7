"""Single passes over the rows, beside the least that the machine could do on them.

    python benchmarks/passes.py --samples 115846 --classes 1000 --imbalance-ratio 256

read             sum over the logits: what memory gives
exp              a warm `torch.exp(logits, out=buffer)`: what a softmax cannot go below
fast, precise    our loss and full gradient, in float32 and in float64 arithmetic
hessian_product  our Hessian times a step
torch_...        the same by torch's operations, as where nothing is compiled
autograd         `cross_entropy`, forward and backward
"""

from pathlib import Path

import click
import torch
from harness import as_written, output_option, ratio, repeat_option, report, side_by_side
from objectives import AutogradObjective, Contest
from rows import SyntheticRows, rows_options

from marr_pipeline.rectify.settings import RectifySettings

RATIOS = (
    ("fast", "exp"),
    ("precise", "exp"),
    ("fast", "read"),
    ("hessian_product", "exp"),
    ("torch_fast", "exp"),
    ("torch_fast", "fast"),
    ("torch_precise", "precise"),
    ("torch_hessian_product", "hessian_product"),
    ("autograd", "fast"),
)


@click.command(help=as_written(__doc__))
@rows_options(samples=115_846, classes=1000, imbalance_ratio=256.0)
@click.option("--device", default="cpu", show_default=True)
@repeat_option
@output_option
def main(rows: SyntheticRows, device: str, repeat: int, output: Path | None) -> None:
    """Time them in turn."""
    contest = Contest(rows.inputs(device=device), RectifySettings(), gap=1e-6)
    start = contest.start()
    ours, by_torch = contest.problem(), contest.problem(kernel="torch")
    logits, step = contest.inputs.logits.flatten(0, 1), torch.ones_like(start)
    buffer, autograd = torch.empty_like(logits), AutogradObjective(contest, torch.float32)
    measured = side_by_side(
        {
            "read": logits.sum,
            "exp": lambda: torch.exp(logits, out=buffer),
            "fast": lambda: ours.evaluate(start, precise=False),
            "precise": lambda: ours.evaluate(start, precise=True),
            "hessian_product": lambda: ours.hessian_product(start, step),
            "torch_fast": lambda: by_torch.evaluate(start, precise=False),
            "torch_precise": lambda: by_torch.evaluate(start, precise=True),
            "torch_hessian_product": lambda: by_torch.hessian_product(start, step),
            "autograd": lambda: autograd.value_and_gradient(start),
        },
        repeat=repeat,
        title=f"passes over {rows.num_samples:,} x {rows.num_classes:,}",
    )
    ratios = {f"{one} / {two}": ratio(measured[one], measured[two]) for one, two in RATIOS}
    report("passes", measured, ratios=ratios, output=output, rows=rows.record())


if __name__ == "__main__":
    main()
