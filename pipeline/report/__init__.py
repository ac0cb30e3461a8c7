"""What a classifier's logits are worth: scores, metrics, class curves and tables."""
