"""IFRNet: intermediate features and flow (CVPR 2022)."""
