"""Simple methods to compare with: average, nearest, plain flow, FFmpeg's minterpolate."""
