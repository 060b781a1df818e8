"""The Space: its page asks for a password, and its front matter names what there is."""

import os
import subprocess
import sys
from pathlib import Path

import sample

SPACE = Path(sample.__file__).parent / "space"


def test_the_page_refuses_to_start_without_a_password(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "BETWIXT_WEB_PASSWORD"}
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, SPACE / "app.py"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("betwixt: At 0.0.0.0 others can reach the page: set BETWIXT_WEB_PASSWORD")


def test_the_front_matter_is_complete():
    _, matter, _ = (SPACE / "README.md").read_text("utf-8").split("---\n", 2)
    fields = dict(line.split(": ", 1) for line in matter.splitlines())
    assert fields["sdk"] == "gradio"
    assert int(fields["sdk_version"].split(".")[0]) >= 6
    assert (SPACE / fields["app_file"]).is_file()
    assert len(fields["short_description"]) <= 60
    assert (SPACE / "requirements.txt").read_text("utf-8").split() == ["betwixt[web]"]
