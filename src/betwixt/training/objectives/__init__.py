"""What the networks are trained by: one module a family, each an `Objective` (`betwixt.training.objectives.base`)."""
