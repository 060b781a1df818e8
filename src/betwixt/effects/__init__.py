"""What synthesis is good for besides a higher frame rate: frames after the last one, motion blur."""
