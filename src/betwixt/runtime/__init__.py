"""Where a model runs, and on what: devices, threads, the planes of a video."""
