"""`demo`: the cache that comes with the program.

`cifar10-lt.h5` beside this file is cut from a cache of ours by `benchmarks/embedded_cache.py`: the
logits of a ResNet-32 on CIFAR-10-LT of ratio 100, no image and no feature. Its `/meta/cut` says so.
"""

from importlib.resources import files
from pathlib import Path

from marr_pipeline.files import CACHE, replacing

EMBEDDED = "cifar10-lt.h5"


def write_embedded_cache(output: Path, *, overwrite: bool = False) -> None:
    """A copy of the embedded cache.

    Raises:
        PipelineError: it cannot be written, or without `overwrite` would replace another file than
            a cache.
    """
    content = (files("marr_pipeline.workflows") / EMBEDDED).read_bytes()
    with replacing(output, CACHE, overwrite=overwrite) as partial:
        partial.write_bytes(content)
