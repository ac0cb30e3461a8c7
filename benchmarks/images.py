"""The images that phase one is measured on: a dataset's, or drawn ones of CIFAR's size.

Drawn ones are uniform bytes in the files of a `folder` dataset, 10 classes of as many images each.
What pixels show does not change a network's work.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from PIL import Image

from marr_pipeline.workflows.request import PhaseOneRequest

DRAWN = "drawn"
NUM_CLASSES = 10
SIDE = 32


def request_options(*, dataset: str, steps: int) -> Callable[[Callable[..., None]], click.Command]:
    """Options of phase one, with these defaults; the command gets a `request`.

    Drawn images lie in a temporary folder while the command runs.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @click.option("--dataset", default=dataset, show_default=True, help="`drawn` draws pixels.")
        @click.option("--data-root", type=click.Path(exists=True, path_type=Path))
        @click.option("--images", default=4000, show_default=True, help="How many are drawn.")
        @click.option("--backbone", help="[default: the dataset's]")
        @click.option("--batch-size", type=int, help="[default: the recipe's]")
        @click.option("--steps", default=steps, show_default=True, help="Of a training.")
        @click.option("--augmentation", help="[default: the dataset's]")
        @click.option("--precision", default="auto", show_default=True)
        @click.option("--channels-last/--channels-first", default=True, show_default=True)
        @click.option("--compile/--no-compile", default=False, show_default=True)
        @click.option("--workers", type=int)
        @click.option("--device", default="auto", show_default=True)
        @wraps(command)
        def with_request(
            *,
            dataset: str,
            data_root: Path | None,
            images: int,
            steps: int,
            repeat: int,
            output: Path | None,
            **options: object,
        ) -> None:
            with _found_images(dataset, data_root, images) as (name, root):
                request = PhaseOneRequest(
                    dataset=name, data_root=root, iterations=steps, resume=False, **options
                )
                command(request=request, repeat=repeat, output=output)

        return with_request

    return decorate


@contextmanager
def _found_images(
    dataset: str, data_root: Path | None, num_images: int
) -> Iterator[tuple[str, Path | None]]:
    """Name and root of the images."""
    if dataset != DRAWN:
        yield dataset, data_root
        return
    draw = np.random.default_rng(0)
    with TemporaryDirectory() as root:
        for split in ("train", "test"):
            for label in range(NUM_CLASSES):
                folder = Path(root) / split / str(label)
                folder.mkdir(parents=True)
                pixels = draw.integers(
                    0, 256, (num_images // NUM_CLASSES, SIDE, SIDE, 3), dtype=np.uint8
                )
                for number, image in enumerate(pixels):
                    Image.fromarray(image).save(folder / f"{number}.png", compress_level=1)
        yield "folder", Path(root)
