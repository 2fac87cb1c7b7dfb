"""Make blocks, the closures of Apple's C: a struct that contains a function pointer.

The blocks are global ones, which have no reference count: copying one returns the same block, and
releasing it does nothing. So nothing tells when a block is no longer used. All blocks are kept
until the process ends; make a block once, and not for each call.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from .abi import BLOCK_DESCRIPTOR, BLOCK_HAS_SIGNATURE, BLOCK_IS_GLOBAL, BLOCK_LITERAL

_kept: list[object] = []


def make_block(
    system: ctypes.CDLL, function: Callable[..., None], signature: bytes, *arguments: Any
) -> int:
    """Return the address of a new block that calls a function with arguments of these C types.

    ``system`` is the library with the runtime of blocks. The function can be called on any thread,
    and must not raise, since nothing would catch it.
    """

    def invoke(_block: int, *values: Any) -> None:
        function(*values)

    thunk = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *arguments)(invoke)
    text = ctypes.create_string_buffer(signature)
    descriptor = ctypes.create_string_buffer(
        BLOCK_DESCRIPTOR.pack(0, BLOCK_LITERAL.size, ctypes.addressof(text), 0)
    )
    # The class is the address of this variable, not its value.
    kind = ctypes.addressof(ctypes.c_char.in_dll(system, "_NSConcreteGlobalBlock"))
    literal = ctypes.create_string_buffer(
        BLOCK_LITERAL.pack(
            kind,
            BLOCK_IS_GLOBAL | BLOCK_HAS_SIGNATURE,
            0,
            ctypes.cast(thunk, ctypes.c_void_p).value,
            ctypes.addressof(descriptor),
        )
    )
    _kept.append((thunk, text, descriptor, literal))
    return ctypes.addressof(literal)
