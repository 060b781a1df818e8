"""The version of Betwixt."""

__version__ = "0.1.0"
