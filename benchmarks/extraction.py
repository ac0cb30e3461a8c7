"""Extraction into a sealed cache, beside a bare eval loop over the same views.

    python benchmarks/extraction.py
    python benchmarks/extraction.py --dataset cifar10-lt --data-root data/cifar10
    python benchmarks/extraction.py --dataset cifar10-lt --data-root data/cifar10 --checkpoint c.pt

load        the network out of its checkpoint, and its images decoded
bare        the same, then every view through the network, nothing kept
extraction  as `pipeline extract`: the same into HDF5, checksums, journal and sealing included

`bare / extraction` is images a second of the one over the other; the bar is 0.9. Beside it stands
the same without what `load` takes. Without a checkpoint a network is trained for `--steps`; an
untrained one costs the same.
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import torch
from harness import as_written, output_option, ratio, repeat_option, report, side_by_side
from images import request_options

from marr_pipeline.backbone.extract import plan_blocks, view_blocks
from marr_pipeline.data.normalise import normalise
from marr_pipeline.workflows.extract import checkpoint_network, extract
from marr_pipeline.workflows.phase_one import Network, threads_for
from marr_pipeline.workflows.request import PhaseOneRequest
from marr_pipeline.workflows.train import train

NUM_AUGMENTED = 1


@click.command(help=as_written(__doc__))
@request_options(dataset="digits-lt", steps=1)
@click.option("--checkpoint", type=click.Path(exists=True, path_type=Path))
@repeat_option
@output_option
def main(request: PhaseOneRequest, repeat: int, output: Path | None) -> None:
    """Time them in turn."""
    with TemporaryDirectory() as folder:
        if request.checkpoint is None:
            checkpoint = Path(folder) / "network.pt"
            train(request, output=checkpoint)
            request = replace(request, checkpoint=checkpoint)
        request = replace(request, overwrite=True)
        cache = Path(folder) / "cache.h5"
        measured = side_by_side(
            {
                "load": lambda: checkpoint_network(request),
                "bare": lambda: _eval_loop(checkpoint_network(request)),
                "extraction": lambda: extract(request, output=cache, views=NUM_AUGMENTED),
            },
            repeat=repeat,
            title=f"extraction of {request.dataset}",
        )
        network = checkpoint_network(request)
    load, bare, ours = (measured[name].median for name in ("load", "bare", "extraction"))
    sizes = {name: len(split) for name, split in network.dataset.splits.items()}
    num_views = sum(sizes.values()) + NUM_AUGMENTED * sizes["train"]
    report(
        "extraction",
        measured,
        ratios={"bare / extraction": ratio(measured["bare"], measured["extraction"])},
        output=output,
        images={"dataset": network.dataset.name, "shape": list(network.dataset.train.image_shape)},
        backbone=network.config["backbone"],
        views=num_views,
        ratio_without_load=(bare - load) / (ours - load),
        images_per_second={
            "bare": num_views / (bare - load),
            "extraction": num_views / (ours - load),
        },
    )


def _eval_loop(network: Network) -> None:
    model = network.model.to(network.device).to(memory_format=torch.channels_last).eval()
    for name, split in network.dataset.splits.items():
        views = ("clean",) + ("augmented",) * (NUM_AUGMENTED if name == "train" else 0)
        blocks = view_blocks(
            split,
            plan_blocks(len(split), num_views=len(views)),
            views=views,
            augmentation=network.augmentation,
            seed=network.seed,
            device=network.device,
        )
        with torch.inference_mode(), threads_for(network.dataset):
            for _, pixels in blocks:
                model(normalise(pixels, network.dataset.normalisation))


if __name__ == "__main__":
    main()
