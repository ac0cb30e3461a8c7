"""The types of the options of methods, which say what values they may have."""

from typing import Annotated

Value = bool | int | float | str

Share = Annotated[float, (0.0, 1.0)]
"""A number with its least and its largest value."""
BelowOne = Annotated[float, (0.0, 1 - 1e-9)]
Exponent = Annotated[float, (0.0, 10.0)]
Weight = Annotated[float, (0.0, 100.0)]
Scale = Annotated[float, (1e-3, 1e4)]
Size = Annotated[int, (1, 65_536)]
