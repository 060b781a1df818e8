"""Sequences of image files in place of a video file, and conversion between frames and RGB images."""
