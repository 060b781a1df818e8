"""Hierarchical motion estimation, a plug-in for RIFE, IFRNet, AMT and EMA-VFI."""
