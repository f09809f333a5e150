"""Inspect and maintain stores and environments."""
