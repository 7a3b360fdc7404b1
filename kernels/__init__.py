"""Kernels in Triton, each in a folder beside its torch reference; `choice` says which of the two is used.

Needs torch only: Triton is imported where a Triton kernel is first used.
"""
