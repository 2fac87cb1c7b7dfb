"""Blocks, the closures of Apple's C, by hand: a struct that begins with a function pointer.

Global blocks, for nobody counts references of those: copying one returns it, and releasing it does
nothing. But then nobody says when it is used no more, so what is made here is kept until the
process ends, and whoever needs a block makes it once, not for each call.
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

    ``system`` is the library that has the runtime of blocks. The function is called on any thread,
    and must not raise: there is nobody to catch it.
    """

    def invoke(_block: int, *values: Any) -> None:
        function(*values)

    thunk = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *arguments)(invoke)
    text = ctypes.create_string_buffer(signature)
    descriptor = ctypes.create_string_buffer(
        BLOCK_DESCRIPTOR.pack(0, BLOCK_LITERAL.size, ctypes.addressof(text), 0)
    )
    # The class is the variable itself, not what is in it.
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
