"""Phase two: rectified logits from cached logits. Arrays in, arrays out.

Reading order: `margins`, `weighting`, `affine`, `objective`, `problem`, `solvers`, `methods`.
"""
