"""Minimisers of functions with a gradient, and how a fit ended.

They know points and directions, not logits: whatever shows the shape of a function cheaply is given
to them by who knows it (`lbfgs.Approximation`, a Newton step). Reading order: `ridge`, `solvable`,
`search`, `lbfgs`, `newton`, `sgd`.
"""
