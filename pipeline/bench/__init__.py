"""Speed measured beside that of others: every ratio from one run, on one problem.

Shared: `settings`, `synthetic` rows, `timing`, `rates`, `memory`, `stages`, `machine`. What is
measured, in reading order:

    fit         `passes`, `contest`, `race`, `solvers`, `peers`, `heat`, `fit`; `online`
    scaling     `scaling`
    float16     `agreement`, `precision`
    extraction  `extraction`
    the file    `reading`

Arrays and callables in, records out; files, images and networks are joined to them in `cli`.
"""
