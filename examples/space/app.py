"""`betwixt web` as a Space of Hugging Face.

Set the Space's secret BETWIXT_WEB_PASSWORD. Everyone with this password shares one queue and sees all videos.
"""

from betwixt.cli.main import run

if __name__ == "__main__":
    raise SystemExit(run(["web", "--host", "0.0.0.0", "--port", "7860", "--max-upload", "0.5", "--keep-days", "1"]))
