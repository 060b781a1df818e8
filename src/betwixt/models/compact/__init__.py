"""compact and compact-large: classical optical flow, refined by two small networks."""
