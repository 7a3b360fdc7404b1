"""Comparing strategies on tables of real results: many simulated searches, and what they had found by when."""
