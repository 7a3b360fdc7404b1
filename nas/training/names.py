"""The names of the files that a trial leaves in its folder."""

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"
STRENGTH = "strength/"
