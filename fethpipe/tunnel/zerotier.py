"""Read the requests of ZeroTier's host: the arguments that its agent passes to ifconfig."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from ..provision.request import Change


def parse_configuration(words: Sequence[bytes]) -> Change | None:
    """Return the change that the words ask for, None for words that the host does not send.

    It sends ``inet|inet6 ADDRESS/PREFIX alias|-alias`` and ``mtu N``.
    """
    try:
        said = [word.decode("ascii") for word in words]
    except UnicodeDecodeError:
        return None
    if said and not said[-1]:  # each word ends with a zero
        said.pop()
    if len(said) == 3 and said[0] in ("inet", "inet6") and said[2] in ("alias", "-alias"):
        return _parse_address(*said)
    if len(said) == 2 and said[0] == "mtu" and re.fullmatch(r"[1-9][0-9]{0,4}", said[1]):
        return Change(mtu=int(said[1]))
    return None


def _parse_address(family: str, text: str, what: str) -> Change | None:
    if "/" not in text or "%" in text:
        return None
    try:
        address = ipaddress.ip_interface(text)
    except ValueError:
        return None
    if address.version != (4 if family == "inet" else 6):
        return None
    return Change(add=(address,)) if what == "alias" else Change(remove=(address,))
