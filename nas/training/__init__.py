"""Training and judging one network: the loop, its recipe, its checkpoints, and the cheap measures."""
