"""fethpipe: shuttle Ethernet frames between a virtual Ethernet device and a pipe.

As a library it makes, opens and joins Ethernet devices. It has the names of
:mod:`fethpipe.library`, and ``fethpipe.aio`` for asyncio. The library is imported when one of its
names is used for the first time, so that the programs start without it.
"""

import importlib

from ._version import __version__ as __version__

TYPE_CHECKING = False  # type checkers treat it as typing.TYPE_CHECKING
if TYPE_CHECKING:
    from .library import *  # noqa: F403


def __getattr__(name: str) -> object:
    library = importlib.import_module(".library", __name__)
    if name == "__all__" or name in library.__all__:
        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
