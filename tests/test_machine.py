"""What is asked of the machine leaves it as it was."""

import os
import subprocess
import sys

import pytest

from betwixt import machine
from clips import make_clip


@pytest.mark.skipif(sys.platform != "linux", reason="SVT-AV1 changes the scheduling on Linux")
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may have real-time threads")
def test_an_encoder_leaves_no_real_time_threads(tmp_path):
    clip = make_clip(tmp_path / "in.mkv", frames=4)
    script = (
        "import os\n"
        "from betwixt.pipeline.interpolate import interpolate_video\n"
        "seen = set()\n"
        "def look(progress):\n"
        "    seen.update(os.sched_getscheduler(int(thread)) for thread in os.listdir('/proc/self/task'))\n"
        f"interpolate_video({str(clip)!r}, {str(tmp_path / 'out.mkv')!r}, model='dis', codec='av1', progress=look)\n"
        "look(None)\n"
        "assert seen == {os.SCHED_OTHER}, seen\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_system_without_proc_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_TASKS", tmp_path / "missing")
    with machine.keep_scheduling():
        assert machine._scheduling() == {}
