"""Weights: files of parameters, checked before they are used."""
