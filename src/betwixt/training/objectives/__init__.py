"""Objectives: how each network is trained (losses, stages, teachers). One module per family of networks."""
