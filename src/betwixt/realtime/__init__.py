"""Real-time video: frames that come in late, in bursts or not at all go out at the display's rate.

>>> from betwixt.realtime import Smoother
>>> smoother = Smoother("dis", rate=60, source_rate=15)
"""

from betwixt.realtime.smoother import MODES, Shown, Smoother

__all__ = ["MODES", "Shown", "Smoother"]
