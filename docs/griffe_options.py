"""A Griffe extension that shows the options of conversions, which functions take as ``**options``."""

import inspect
import re
from typing import Any

import griffe

from betwixt.pipeline import options as declarations


class DeclaredOptions(griffe.Extension):
    """Shows the options of a function that is decorated by `takes_options` in its signature and its docstring."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Change one function."""
        match = re.search(r"takes_options\((\w+)\)", " ".join(str(d.value) for d in func.decorators))
        if match is None or func.docstring is None:
            return

        def documented(**options: Any) -> None:
            pass

        documented.__doc__ = "\n".join(f"    {line}" for line in func.docstring.value.splitlines())
        declarations.takes_options(getattr(declarations, match[1]))(documented)
        func.docstring.value = inspect.cleandoc(documented.__doc__)
        options = [
            griffe.Parameter(
                parameter.name,
                annotation=re.sub(r"fractions\.|pathlib\.|'", "", inspect.formatannotation(parameter.annotation)),
                kind=griffe.ParameterKind.keyword_only,
                default=repr(parameter.default),
            )
            for parameter in inspect.signature(documented).parameters.values()
        ]
        own = [parameter for parameter in func.parameters if parameter.kind is not griffe.ParameterKind.var_keyword]
        func.parameters = griffe.Parameters(*own, *options)
