"""AMT: all-pairs correlation and several flow fields (CVPR 2023)."""
