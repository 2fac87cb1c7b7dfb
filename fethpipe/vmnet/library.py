"""Load the functions of vmnet.framework, and those of libSystem that make its arguments.

``CDLL`` releases Python's lock during a call. It has to: the call may wait for a callback that
needs the lock. The libraries need not exist as files: dlopen(3) finds them in the cache of the
dynamic linker.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_bool, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from functools import lru_cache
from typing import Any

from ..errors import DeviceError

_VMNET = "/System/Library/Frameworks/vmnet.framework/vmnet"
_SYSTEM = "/usr/lib/libSystem.B.dylib"

# Result and arguments of each function. Opaque types are pointers, enums are uint32_t
# (vmnet/vmnet.h).
_OF_VMNET: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "vmnet_start_interface": (c_void_p, (c_void_p, c_void_p, c_void_p)),
    "vmnet_interface_set_event_callback": (c_uint32, (c_void_p, c_uint32, c_void_p, c_void_p)),
    "vmnet_read": (c_uint32, (c_void_p, c_void_p, POINTER(c_int))),
    "vmnet_write": (c_uint32, (c_void_p, c_void_p, POINTER(c_int))),
    "vmnet_stop_interface": (c_uint32, (c_void_p, c_void_p, c_void_p)),
    "vmnet_copy_shared_interface_list": (c_void_p, ()),
}
# dispatch/queue.h and xpc/xpc.h
_OF_SYSTEM: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "dispatch_queue_create": (c_void_p, (c_char_p, c_void_p)),
    "dispatch_sync_f": (None, (c_void_p, c_void_p, c_void_p)),
    "dispatch_release": (None, (c_void_p,)),
    "xpc_dictionary_create": (c_void_p, (c_void_p, c_void_p, c_size_t)),
    "xpc_dictionary_set_uint64": (None, (c_void_p, c_char_p, c_uint64)),
    "xpc_dictionary_set_bool": (None, (c_void_p, c_char_p, c_bool)),
    "xpc_dictionary_set_string": (None, (c_void_p, c_char_p, c_char_p)),
    "xpc_dictionary_set_uuid": (None, (c_void_p, c_char_p, c_char_p)),
    "xpc_dictionary_get_uint64": (c_uint64, (c_void_p, c_char_p)),
    "xpc_dictionary_get_string": (c_char_p, (c_void_p, c_char_p)),
    "xpc_array_get_count": (c_size_t, (c_void_p,)),
    "xpc_array_get_string": (c_char_p, (c_void_p, c_size_t)),
    "xpc_release": (None, (c_void_p,)),
}


class Library:
    """Both libraries, with their functions declared: ``vmnet`` and ``system``."""

    def __init__(self) -> None:
        try:
            self.vmnet = ctypes.CDLL(_VMNET)
            self.system = ctypes.CDLL(_SYSTEM)
            _declare(self.vmnet, _OF_VMNET)
            _declare(self.system, _OF_SYSTEM)
        except (OSError, AttributeError) as error:
            raise DeviceError(
                f"cannot use vmnet.framework: {error}", hint="vmnet needs macOS 10.15 or newer"
            ) from error

    def key(self, name: str) -> bytes | None:
        """Return the string that names a value in vmnet's dictionaries.

        ``name`` is the name of the symbol without ``vmnet_`` and ``_key``. Returns None if this
        macOS does not have the symbol.
        """
        try:
            return c_char_p.in_dll(self.vmnet, f"vmnet_{name}_key").value
        except ValueError:
            return None

    def shared_interfaces(self) -> list[str]:
        """Return the names of the interfaces that vmnet can bridge to."""
        array = self.vmnet.vmnet_copy_shared_interface_list()
        if not array:
            return []
        try:
            count = self.system.xpc_array_get_count(array)
            names = [self.system.xpc_array_get_string(array, index) for index in range(count)]
            return [name.decode() for name in names if name]
        finally:
            self.system.xpc_release(array)


@lru_cache(maxsize=1)
def load_library() -> Library:
    """Return the libraries, loaded once. Raises DeviceError if they do not exist."""
    return Library()


def _declare(library: ctypes.CDLL, functions: dict[str, tuple[Any, tuple[Any, ...]]]) -> None:
    """Declare results and arguments: without this, ctypes would cut pointers to 32 bits."""
    for name, (result, arguments) in functions.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
