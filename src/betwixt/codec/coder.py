from betwixt.errors import UsageError


class BFrameCoder: ...


def load_coder(w):
    raise UsageError("no")
