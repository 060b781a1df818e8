"""Shared by all tests and doctests."""

import atexit
import importlib
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent

for folder in ("tests", "tests/evaluation", "tests/realfiles", "examples"):
    sys.path.insert(0, str(ROOT / folder))

# Tests of interrupts need SIGINT, which a parent such as nohup, or some CI runners, may have set to be ignored.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The processes of pytest-xdist share the cores. PyTorch reads this when it is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# It registers a device, which a process can do once: it must not be imported again in search of doctests.
collect_ignore = ["tests/fake_device.py"]
if importlib.util.find_spec("vapoursynth") is None:
    collect_ignore += ["src/betwixt/integrations/vapoursynth.py", "src/betwixt/integrations/vapoursynth_frames.py"]

# Tests must not find weights that are installed on this machine.
os.environ["BETWIXT_WEIGHTS"] = str(ROOT / "tests" / "no weights")

# The first import of OpenVINO reports to its makers, unless it is made from here.
if importlib.util.find_spec("openvino") is not None:
    importlib.import_module("betwixt.backends.openvino").missing("npu")

# Compiled models stay out of the user's cache, and serve all tests of one run.
_cache = tempfile.TemporaryDirectory(prefix="betwixt-cache-")
atexit.register(_cache.cleanup)
os.environ["BETWIXT_CACHE"] = _cache.name


@pytest.fixture(autouse=True)
def usual_scheduling() -> Iterator[None]:
    """Fail a test that leaves real-time priority behind, as encoders may: all later tests would starve the machine."""
    yield
    if sys.platform == "linux" and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        pytest.fail("The test leaves real-time priority behind: see betwixt.machine.keep_scheduling.")


@pytest.fixture(scope="session")
def doctest_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of video, 96x64 at 25 frames a second."""
    from clips import make_clip

    return make_clip(tmp_path_factory.mktemp("doctest") / "in.mp4", frames=25, codec="libx264")


@pytest.fixture(autouse=True)
def doctest_folder(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run each doctest in a folder of its own, which holds a video `in.mp4`."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    folder = request.getfixturevalue("tmp_path")
    shutil.copy(request.getfixturevalue("doctest_clip"), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield
