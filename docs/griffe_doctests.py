"""A Griffe extension that shows doctests in docstrings as code blocks."""

import re
from typing import Any

import griffe

_DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


class DoctestBlocks(griffe.Extension):
    """Fences doctests in running text, which Markdown would show as quotations, and makes `Example:` a section."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one object."""
        if obj.docstring is not None:
            text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = _DOCTEST.sub(r"```pycon\n\g<0>\n```", text)
