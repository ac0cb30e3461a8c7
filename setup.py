"""The compiled pass over rows, which is optional; all else stands in setup.cfg."""

from pathlib import Path
from zlib import crc32

from setuptools import Extension, setup

SOURCE = "pipeline/rectify/rows/kernel.c"

setup(
    ext_modules=[
        Extension(
            "marr_pipeline.rectify.rows._kernel",
            [SOURCE],
            # By which a build is told from that of another state of a clone.
            define_macros=[("SOURCE", f"{crc32(Path(SOURCE).read_bytes())}u")],
            # No -march and no -ffast-math: see the file. Vectors inside one file cross no ABI.
            extra_compile_args=["-O3", "-Wno-psabi"],
            optional=True,  # without a compiler torch does the same
        )
    ]
)
