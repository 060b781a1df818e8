"""Evaluation: data sets, metrics, costs, and what was published."""
