"""Decode, pair, synthesize, encode: the straight line from a video to a smooth one."""
