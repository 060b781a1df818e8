"""Training: data sets, synthetic motion, augmentation, losses, the loop."""
