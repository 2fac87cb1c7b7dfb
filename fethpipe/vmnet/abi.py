"""The ABI of vmnet.framework: its constants, its structs, and the layout of a block.

All layouts are those of 64-bit little-endian systems: Python for macOS runs on no others.
Sources: vmnet/vmnet.h of the macOS SDK; libclosure's Block_private.h and clang's Block-ABI-Apple.
"""

from __future__ import annotations

import struct
from enum import IntEnum


class Mode(IntEnum):
    """operating_modes_t."""

    VMNET_HOST_MODE = 1000
    VMNET_SHARED_MODE = 1001
    VMNET_BRIDGED_MODE = 1002


class ReturnCode(IntEnum):
    """vmnet_return_t. Zero is not one of them."""

    VMNET_SUCCESS = 1000
    VMNET_FAILURE = 1001
    VMNET_MEM_FAILURE = 1002
    VMNET_INVALID_ARGUMENT = 1003
    VMNET_SETUP_INCOMPLETE = 1004
    VMNET_INVALID_ACCESS = 1005
    VMNET_PACKET_TOO_BIG = 1006
    VMNET_BUFFER_EXHAUSTED = 1007
    VMNET_TOO_MANY_PACKETS = 1008
    VMNET_SHARING_SERVICE_BUSY = 1009
    VMNET_NOT_AUTHORIZED = 1010  # newer SDKs


VMNET_INTERFACE_PACKETS_AVAILABLE = 1
"""The only interface_event_t."""

MOST_FRAMES = 200
MOST_BYTES = 256 * 1024
"""The most that one vmnet_read or vmnet_write moves, from Apple's documentation of the framework.
"""

IOVEC = struct.Struct("<QQ")
"""struct iovec: iov_base, iov_len."""

VMPKTDESC = struct.Struct("<QQII")
"""struct vmpktdesc: vm_pkt_size, vm_pkt_iov, vm_pkt_iovcnt, vm_flags."""

BLOCK_LITERAL = struct.Struct("<QiiQQ")
"""struct Block_layout: isa, flags, reserved, invoke, descriptor."""

BLOCK_DESCRIPTOR = struct.Struct("<QQQQ")
"""struct Block_descriptor_1 and _3: reserved, size of the literal, signature, layout."""

BLOCK_IS_GLOBAL = 1 << 28
BLOCK_HAS_SIGNATURE = 1 << 30

# The Objective-C type encodings that clang gives to blocks with these arguments.
SIGNATURE_OF_START = b'v20@?0I8@"NSObject<OS_xpc_object>"12'
SIGNATURE_OF_EVENT = SIGNATURE_OF_START
SIGNATURE_OF_STOP = b"v12@?0I8"
