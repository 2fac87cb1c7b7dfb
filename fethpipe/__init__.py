"""fethpipe: shuttle Ethernet frames between a virtual Ethernet device and a pipe.

As a library it makes, opens and joins Ethernet devices. It has the names of
:mod:`fethpipe.library`, and ``fethpipe.aio`` for asyncio. The library is imported when one of its
names is used for the first time, so that the programs start without it.
"""

import sys

if sys.version_info < (3, 9):  # noqa: UP036 - even Python 2 reads this file and gets here
    sys.exit("fethpipe: needs Python 3.9 or newer, this is " + sys.version.split()[0])

from ._names import find as __getattr__  # noqa: F401
from ._names import names as __dir__  # noqa: F401
from ._version import __version__ as __version__

TYPE_CHECKING = False  # type checkers treat it as typing.TYPE_CHECKING
if TYPE_CHECKING:
    from .library import *  # noqa: F403
