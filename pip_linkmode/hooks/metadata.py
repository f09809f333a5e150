"""Parse the metadata of each wheel once, however often pip asks for it.

:mod:`importlib.metadata` parses METADATA for each name, version and dependency, with
its long description, and pip asks a dozen times for each wheel.  Where nothing
is downloaded and unpacked, that is a tenth of an installation.

Part of the light half of the hooks: it needs the standard library only.
"""

from __future__ import annotations

import sys
from functools import cache, cached_property, wraps
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MAKERS = ("from_wheel", "from_metadata_file_contents")
"""Class methods of pip's ``Distribution`` (``_internal/metadata/importlib/_dists.py``)
for wheels that are not installed yet."""
_parsed: dict[str, Any] = {}
"""Messages by the text of METADATA; pip changes none, except for ``requires.txt``."""


def apply() -> None:
    """Listen where pip reads the metadata of wheels, once.

    Another pip, and one that reads metadata by :mod:`!pkg_resources`, parses as before.
    """
    module: Any = sys.modules.get("pip._internal.metadata")
    select = getattr(module, "select_backend", None)
    backend = getattr(select and select(), "Distribution", None)
    for name in _MAKERS:
        stock = vars(backend).get(name) if isinstance(backend, type) else None
        if isinstance(stock, classmethod) and not hasattr(
            stock.__func__, "__wrapped__"
        ):
            setattr(backend, name, classmethod(_making(stock.__func__)))


def _making(stock: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(stock)
    def make(*args: Any, **kwargs: Any) -> Any:
        made = stock(*args, **kwargs)
        distribution: Any = getattr(made, "_dist", None)
        kind: Any = type(distribution)
        if isinstance(getattr(kind, "metadata", None), property):
            distribution.__class__ = _parsing_once(kind)
        return made

    return make


@cache
def _parsing_once(kind: Any) -> type:
    """Return a class of distributions that keeps the result of ``metadata``.

    :param kind: a class with a property ``metadata``
    """
    stock = kind.metadata

    def metadata(self: Any) -> Any:
        text = self.read_text("METADATA")
        # pip adds its lines to the message (metadata/base.py, _add_egg_info_requires).
        if not text or self.read_text("requires.txt") is not None:
            return stock.__get__(self)
        if text not in _parsed:
            _parsed[text] = stock.__get__(self)
        return _parsed[text]

    # Errors name the class of a distribution.
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(
        kind.__name__, (kind,), {**names, "metadata": cached_property(metadata)}
    )
