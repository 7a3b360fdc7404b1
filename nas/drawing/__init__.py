"""Drawing functions of one variable: in the terminal, and as pictures."""

DRAWN_KINDS = ("activation", "basis")
FORMATS = (".png", ".svg")
