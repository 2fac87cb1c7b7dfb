"""Who runs what: whom the pump and COMMAND become, and whose terminal this is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from signal import Signals
from typing import NamedTuple

from ..errors import NotAllowedError
from ..system.parting import Link, part_from_terminal, terminal_owner
from ..system.privileges import (
    Person,
    can_become,
    find_person,
    nobody_account,
    person_behind_sudo,
)


class People(NamedTuple):
    """Whom the pump and COMMAND become; None stays who we are.

    The pump need not be the person, unless that is asked for, and needs no groups.
    """

    pump: Person | None
    command: Person | None


def choose_people(user: str | None) -> People:
    """Decide who runs what. Raises UsageError, or NotAllowedError when we may not become them."""
    named = find_person(user) if user is not None else None
    if os.geteuid() != 0:
        if named is None or named.uid == os.geteuid():
            return People(None, None)
        raise NotAllowedError(f"only root can become {named.name}", hint="leave --user out")
    person = named or person_behind_sudo(os.environ)
    pump = named._replace(groups=(named.gid,)) if named else nobody_account()
    if can_become(pump) and can_become(person or pump):
        return People(pump, person)
    if named is None:  # root of a user namespace: an ordinary user already
        return People(None, None)
    raise NotAllowedError(f"this user namespace does not know {named.name}")


def part(people: People, signals: Sequence[Signals]) -> Link | None:
    """Part from the terminal, if we have one and it is not the pump's own."""
    if people.pump is None:
        return None
    owner = terminal_owner(person_behind_sudo(os.environ))
    if owner is None or owner == people.pump.uid:
        return None
    person = find_person(str(owner)) if owner > 0 else None
    return part_from_terminal(person, signals, owner)
