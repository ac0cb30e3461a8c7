"""The compiled pass over rows, which is optional; all else stands in setup.cfg."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "marr_pipeline.rectify.rows._kernel",
            ["pipeline/rectify/rows/kernel.c"],
            # No -march and no -ffast-math: see the file. Vectors inside one file cross no ABI.
            extra_compile_args=["-O3", "-Wno-psabi"],
            optional=True,  # without a compiler torch does the same
        )
    ]
)
