"""Masks: which parts of two frames belong together, for the hierarchical models."""
