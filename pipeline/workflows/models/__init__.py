"""What `export` writes: checkpoints with another head, heads alone, graphs of either."""
