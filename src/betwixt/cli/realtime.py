"""betwixt realtime."""


def realtime() -> None:
    """later"""
