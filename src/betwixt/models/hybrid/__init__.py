"""hybrid: the motion of classical optical flow and of RIFE 4.6, fused by two small networks."""
