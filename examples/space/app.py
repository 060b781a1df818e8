"""`betwixt web` as a Space of Hugging Face.

All who know the password share one queue and see each other's videos: set the secret BETWIXT_WEB_PASSWORD of the Space.
"""

from betwixt.cli.main import run

if __name__ == "__main__":
    raise SystemExit(run(["web", "--host", "0.0.0.0", "--port", "7860", "--max-upload", "0.5", "--keep-days", "1"]))
