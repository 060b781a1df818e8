"""The models, one module a paper, behind one interface."""
