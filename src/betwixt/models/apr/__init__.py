"""APR-VFI: forward warping and alignment-aware patch routing."""
