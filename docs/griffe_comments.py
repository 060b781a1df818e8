"""A Griffe extension that shows the comments of dataclass fields."""

from typing import Any

import griffe


class FieldComments(griffe.Extension):
    """Takes the comment at the end of a field's line as the field's docstring, if it has none."""

    def on_attribute(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Change one attribute."""
        _, mark, comment = attr.source.rpartition("  # ")
        is_field = attr.parent is not None and attr.parent.is_class and attr.annotation is not None
        if is_field and mark and attr.docstring is None and not comment.startswith(("type:", "noqa")):
            attr.docstring = griffe.Docstring(comment[0].upper() + comment[1:] + ".", parent=attr)
