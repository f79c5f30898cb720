"""What each key of the settings means: the docstring under it.

Read only where it is shown. Pydantic can gather them itself (`use_attribute_docstrings`), but does
so whenever a program starts, and that takes a third as long as loading ONNX Runtime.
"""

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise

from pydantic import BaseModel


@cache
def meanings(section: type[BaseModel]) -> dict[str, str]:
    """The docstring under each key of a section and of those it extends, as it is written."""
    found: dict[str, str] = {}
    for cls in reversed(section.__mro__):
        if issubclass(cls, BaseModel) and cls.__module__.startswith("config."):
            found |= _own_meanings(cls)
    return found


def _own_meanings(cls: type[BaseModel]) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(tree, ast.ClassDef)
    return {
        key.target.id: inspect.cleandoc(text.value.value)
        for key, text in pairwise(tree.body)
        if isinstance(key, ast.AnnAssign)
        and isinstance(key.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
