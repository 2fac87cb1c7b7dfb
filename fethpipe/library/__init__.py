"""The library: everything that ``import fethpipe`` offers to other programs."""

from ..errors import (
    DeviceError,
    FethpipeError,
    NotAllowedError,
    ProtocolError,
    SystemFailureError,
    TruncatedError,
    UsageError,
)
from ..ether.frame import Buffer
from ..netif.status import Status
from ..stats import Counters
from ..wire.framing import FRAMINGS, Framing, RecordDecoder
from .device import EthernetDevice
from .feth import Feth, FethPair, Side, create_feth, create_pair
from .joining import join
from .opening import attach_device, create_device, open_far_end, open_interface

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
    "join",
    "open_far_end",
    "open_interface",
]
