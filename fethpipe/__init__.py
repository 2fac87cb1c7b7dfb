"""fethpipe: shuttle Ethernet frames between a virtual Ethernet device and a pipe.

As a library it makes, opens and joins Ethernet devices: the names below, and ``fethpipe.aio`` for
asyncio. They are loaded when they are asked for first, so that the program starts without them.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # for type checkers, which take it for typing's
if TYPE_CHECKING:
    from .api import (
        FRAMINGS,
        Buffer,
        Counters,
        DeviceError,
        EthernetDevice,
        Feth,
        FethPair,
        FethpipeError,
        Framing,
        NotAllowedError,
        ProtocolError,
        RecordDecoder,
        Side,
        Status,
        SystemFailureError,
        TruncatedError,
        UsageError,
        attach_device,
        create_device,
        create_feth,
        create_pair,
        open_far_end,
        open_interface,
    )

__all__ = [
    "FRAMINGS",
    "Buffer",
    "Counters",
    "DeviceError",
    "EthernetDevice",
    "Feth",
    "FethPair",
    "FethpipeError",
    "Framing",
    "NotAllowedError",
    "ProtocolError",
    "RecordDecoder",
    "Side",
    "Status",
    "SystemFailureError",
    "TruncatedError",
    "UsageError",
    "attach_device",
    "create_device",
    "create_feth",
    "create_pair",
    "open_far_end",
    "open_interface",
]


def __getattr__(name: str) -> object:
    if name not in __all__:  # a submodule too is asked for here before it is imported
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import api  # noqa: PLC0415 - or the program would start with it

    return getattr(api, name)
