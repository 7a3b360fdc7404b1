"""The names of the files that a trial leaves in its folder."""

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"
STRENGTH = "strength/"


def retained(step: int) -> str:
    """Return the name of a checkpoint that stays after a pause."""
    return f"checkpoint-{step}.pt"
