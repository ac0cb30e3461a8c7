"""Phase two measured against others: every ratio from one run, on one problem, to one loss.

Reading order: `settings`, `synthetic`, `timing`, `passes`, `contest`, `race`, `solvers`, `peers`,
`fit`. Arrays in, records out.
"""
