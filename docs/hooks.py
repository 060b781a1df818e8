"""MkDocs hooks: pages, images and links that come from outside docs/.

Links between the pages and to other files of the repository are relative, so that they work on GitHub, too. Here those
that leave docs/ become links to the repository, or to the copy of an image on the site.
"""

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PROJECT = Path(__file__).parents[1]

PAGES = {"reference/contributing.md": "CONTRIBUTING.md", "reference/changelog.md": "CHANGELOG.md"}
"""Pages of the site, and the files of the repository that they show."""

IMAGES = {"images/quality.png": "results/quality.png", "images/compression.png": "results/compression.png"}
"""Images of the site that are kept outside docs/, and where."""

SINGLE_PAGES = ("index.md", "start.md", "results.md", "eye.md")
"""Pages that are a tab of their own: they need no list of the pages beside them."""

_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages and images that are kept elsewhere in the repository."""
    for uri, source in (PAGES | IMAGES).items():
        files.append(File.generated(config, uri, abs_src_path=str(PROJECT / source)))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Resolve the links of a page that leave docs/."""
    uri = page.file.src_uri
    if uri in SINGLE_PAGES:
        page.meta["hide"] = ["navigation"]
    folder = os.path.dirname(PAGES.get(uri, f"docs/{uri}"))
    moved = {source: f"docs/{uri}" for uri, source in (PAGES | IMAGES).items()}

    def resolve(link: re.Match[str]) -> str:
        target = os.path.normpath(os.path.join(folder, link[1])).replace(os.sep, "/")
        target = moved.get(target, target)
        if target.startswith("docs/"):
            return os.path.relpath(target, os.path.dirname(f"docs/{uri}")).replace(os.sep, "/") + (link[2] or "")
        kind = "tree" if (PROJECT / target).is_dir() else "blob"
        # A link to nothing stays as it is, for MkDocs to report.
        return f"{config.repo_url}/{kind}/main/{target}" if (PROJECT / target).exists() else link[0]

    return _LINK.sub(resolve, markdown)
