"""The type of an interface's address, for the code that packs it and the code that sets it."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface
from typing import Union

IPInterface = Union[IPv4Interface, IPv6Interface]
"""An IPv4 or IPv6 address with its prefix length."""
