"""dis: classical optical flow by dense inverse search, projected to the time of the new frame."""
