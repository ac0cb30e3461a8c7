"""`pipeline bench extract`: extraction beside a bare eval loop, and reading what it wrote."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import click

from pipeline import names
from pipeline.bench.settings import ReadSettings
from pipeline.cli.bench.options import folder_option, image_options
from pipeline.cli.command import command, json_option, note, print_json
from pipeline.cli.inputs import input_type

if TYPE_CHECKING:
    from pipeline.bench.extraction import ExtractionBench
    from pipeline.bench.machine import Machine
    from pipeline.bench.reading import Reading
    from pipeline.cli.bench.images import ImageRequest


@dataclass(frozen=True, kw_only=True)
class BenchedExtraction:
    """Everything that `pipeline bench extract` measured, and on what.

    Attributes:
        problem: images, views, network and how rows were stored.
        machine: what it was measured on.
        extraction: images a second.
        reading: of the file's training logits.
    """

    problem: dict[str, Any]
    machine: "Machine"
    extraction: "ExtractionBench"
    reading: "Reading"

    def document(self) -> dict[str, Any]:
        """The JSON document of the command."""
        return {
            "command": "bench",
            "what": "extract",
            "problem": self.problem,
            "machine": self.machine,
            "extraction": self.extraction.document(),
            "reading": self.reading.document(),
        }


def bench_extract(
    request: "ImageRequest",
    settings: ReadSettings,
    *,
    num_views: int,
    dtype: Literal["float32", "float16"],
    folder: Path | None,
) -> BenchedExtraction:
    """Extract into a file that is thrown away, beside a bare eval loop, and read the file.

    Args:
        request: images and network.
        settings: how often to time, and how to read.
        num_views: augmented views of the training images beside the clean one.
        dtype: of the stored rows.
        folder: where the file lies; None for the system's folder of temporary files.

    Raises:
        ConfigError: options that contradict each other, or one out of its range.
        DataError: the checkpoint or the images cannot be used.
        CacheWriteError: the file cannot be written.
    """
    import torch

    from pipeline.bench.extraction import eval_loop, measure_extraction
    from pipeline.bench.machine import machine
    from pipeline.bench.reading import measure_reading
    from pipeline.cli.bench.file import sealed_file
    from pipeline.cli.bench.images import requested_network, view_batches
    from pipeline.cli.caching import cache_writer, extract_cache

    network = requested_network(request)
    model = network.model.to(network.device).to(memory_format=torch.channels_last).eval()
    with TemporaryDirectory(dir=folder, prefix="pipeline-bench-") as name:
        path = Path(name) / "rows.h5"

        plan = cache_writer(
            path, network, num_views=num_views, store="both", dtype=dtype, batch_norm="eval"
        ).plan
        views = {split: rows.views for split, rows in plan.splits.items()}

        def ours() -> None:
            extract_cache(
                path, network, num_views=num_views, store="both", dtype=dtype, overwrite=True
            )

        extraction = measure_extraction(
            bare=lambda: eval_loop(model, view_batches(network, views)),
            ours=ours,
            num_images=sum(len(rows.views) * rows.num_samples for rows in plan.splits.values()),
            repeat=settings.repeat,
            device=network.device,
        )
        reading = measure_reading(sealed_file(path, split="train"), settings)
        num_bytes = path.stat().st_size
    config = network.config
    return BenchedExtraction(
        problem={
            "dataset": network.dataset.name,
            "images": {name: len(split) for name, split in network.dataset.splits.items()},
            "image_size": list(network.dataset.train.image_shape),
            "views": {name: len(own) for name, own in views.items()},
            "classes": network.dataset.num_classes,
            "backbone": config["backbone"],
            "augmentation": network.augmentation,
            "dtype": dtype,
            "bytes": num_bytes,
        },
        machine=machine(network.device),
        extraction=extraction,
        reading=reading,
    )


@command("extract")
@image_options
@click.option(
    "--checkpoint",
    type=input_type,
    help="A trained network, on its own images.  [default: random weights, which take as long]",
)
@click.option("--views", type=click.IntRange(min=0), default=1, help="Augmented training views.")
@click.option("--dtype", type=click.Choice(names.DTYPES), default="float32")
@folder_option
@click.option("--repeat", type=int, default=3, help="Timed turns, after one that warms up.")
@json_option
def extract_command(
    views: int,
    dtype: Literal["float32", "float16"],
    folder: Path | None,
    repeat: int,
    as_json: bool,
    **request: Any,
) -> None:
    """Time extraction beside a bare eval loop, and reading beside numpy.fromfile.

    The loop runs the same network on the same batches of the same views and keeps nothing; ours
    plans, writes, sums and seals a file. The file is then read back.
    """
    from pipeline.cli.bench.images import ImageRequest
    from pipeline.cli.bench.rate_table import extraction_table, reading_table
    from pipeline.cli.bench.table import machine_line

    asked = ImageRequest(**request)
    found = bench_extract(
        asked,
        ReadSettings(repeat=repeat, seed=asked.seed),
        num_views=views,
        dtype=dtype,
        folder=folder,
    )
    if as_json:
        print_json(found.document())
        return
    note(machine_line(found.machine))
    click.echo(extraction_table(found.extraction))
    click.echo(reading_table(found.reading))
