"""Adapters to other programs."""
