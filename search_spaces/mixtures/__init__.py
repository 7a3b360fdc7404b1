"""Choices answered by all their options at once: the same tree and the same `build` then yield a supernet."""
