"""The interfaces that the library made, and destroys again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..netif.name import interface_index
from ..provision.feth import destroy_feth


class Owned(NamedTuple):
    """A feth that we made. Its number tells it from a later one of the same name as far as the
    kernel gives that another number, which XNU need not do.
    """

    name: str
    ifindex: int


def own(name: str) -> Owned:
    """Return an interface that was made just now."""
    return Owned(name, interface_index(name))


def destroy_owned(owned: Sequence[Owned]) -> None:
    """Destroy the feths that we made, the last one first; what has gone is no error."""
    for made in reversed(owned):
        if interface_index(made.name) == made.ifindex:
            destroy_feth(made.name)
