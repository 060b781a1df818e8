"""DAEK: dual motion attention and enhanced knowledge distillation."""
