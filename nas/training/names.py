"""The names of the files that a trial leaves in its folder."""

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"
STRENGTH = "strength/"


def retained(step: int) -> str:
    """Return the name of a checkpoint that stays after a pause."""
    return f"checkpoint-{step}.pt"


def of_attempt(name: str, attempt: int) -> str:
    """Return the name that an attempt gives to a file: a worker that was given up may still write its own."""
    if attempt <= 1:
        return name
    stem, dot, ending = name.partition(".")
    return f"{stem}-{attempt}{dot}{ending}"
