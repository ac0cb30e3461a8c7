"""Phase two: rectified logits from cached logits. Arrays in, arrays out.

Reading order: `rectifier`, `inputs`, `objective`, `problem`, `affine`, `thinned`,
`methods`, `fit`.
"""
