"""An address of an interface, as the pure code that packs it and the code that sets it have it."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface
from typing import Union

IPInterface = Union[IPv4Interface, IPv6Interface]
"""An IPv4 or IPv6 address with its prefix length."""
