"""The models, one package per paper, behind one interface."""
