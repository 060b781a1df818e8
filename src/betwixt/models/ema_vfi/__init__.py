"""EMA-VFI: inter-frame attention for motion and appearance (CVPR 2023)."""
