"""Numbered checks: what may be wrong with classes, rows and fits, and what to do about it.

A check takes arrays and gives a `Finding` or None. Thresholds are such that a sound cache of a long
tail with a thousand classes raises none.
"""
