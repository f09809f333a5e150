"""Environments, their distributions, and the stores that they use."""
