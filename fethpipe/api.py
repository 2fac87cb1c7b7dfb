"""The library: everything that ``import fethpipe`` offers to other people's programs."""

from .device import Buffer
from .errors import (
    DeviceError,
    FethpipeError,
    NotAllowedError,
    ProtocolError,
    SystemFailureError,
    TruncatedError,
    UsageError,
)
from .ethernet import EthernetDevice
from .feth import Feth, FethPair, Side, create_feth, create_pair
from .netif.darwin import Status
from .opening import attach_device, create_device, open_far_end, open_interface
from .stats import Counters
from .wire.framing import FRAMINGS, Framing, RecordDecoder

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
