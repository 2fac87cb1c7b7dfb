"""The interfaces that the library made, and has to destroy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..netif.name import interface_index
from ..provision.feth import destroy_feth


class Owned(NamedTuple):
    """A feth that we made. Its index tells it from a later one of the same name, but only if the
    kernel gave that one another index; XNU may give it the same.
    """

    name: str
    ifindex: int


def own(name: str) -> Owned:
    """Return an interface that was just made, with its index."""
    return Owned(name, interface_index(name))


def destroy_owned(owned: Sequence[Owned]) -> None:
    """Destroy the feths that we made, the last one first, if they still exist."""
    for made in reversed(owned):
        if interface_index(made.name) == made.ifindex:
            destroy_feth(made.name)
