"""Layers that several models share, each written once.

`motion` and `planes` need numpy and OpenCV alone; the others are PyTorch. Import from the modules.
"""
