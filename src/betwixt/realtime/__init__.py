"""Real-time video: a stream with late, bursty and missing frames becomes an image for every tick of a display.

>>> from betwixt.realtime import Smoother
>>> smoother = Smoother("dis", rate=60, source_rate=15)
"""

from betwixt.realtime.smoother import MODES, DisplayFrame, Smoother

__all__ = ["MODES", "DisplayFrame", "Smoother"]
