"""Margin rectification of long-tailed classifiers, in two phases.

Phase one (`data`, `backbone`) trains a network and writes what phase two needs into one cache
file; phase two (`rectify`, `report`) fits, compares and draws from that file alone.
"""

__version__ = "0.1.0"
