"""The names of the library in the package. It is imported when the first of them is used."""

from __future__ import annotations

import importlib


def find(name: str) -> object:
    """Return what has this name: the package's ``__getattr__``."""
    library = importlib.import_module(".library", __package__)
    if name == "__all__" or name in library.__all__:
        return getattr(library, name)
    raise AttributeError(f"module {__package__!r} has no attribute {name!r}")


def names() -> list[str]:
    """Return the public names: the package's ``__dir__``."""
    library = importlib.import_module(".library", __package__)
    return sorted([*library.__all__, "__all__", "__doc__", "__name__", "__path__", "__version__"])
