"""Scores of networks that are not trained, one predictor a module with a function `score`."""

from __future__ import annotations


class Unscorable(ValueError):
    """A network that a predictor cannot score; the message says why in one line."""
