"""Choose the users that the pump and COMMAND run as."""

from __future__ import annotations

import os
from typing import NamedTuple

from ..errors import NotAllowedError
from ..system.privileges import (
    Person,
    can_become,
    find_person,
    nobody_account,
    person_behind_sudo,
)


class People(NamedTuple):
    """The users that the pump and COMMAND run as. None stays our own user.

    The pump needs no further groups, and does not run as the user of COMMAND unless --user says so.
    """

    pump: Person | None
    command: Person | None


def choose_people(user: str | None) -> People:
    """Choose the users. Raises UsageError, or NotAllowedError if we cannot become them."""
    named = find_person(user) if user is not None else None
    if os.geteuid() != 0:
        if named is None or named.uid == os.geteuid():
            return People(None, None)
        raise NotAllowedError(f"only root can run as {named.name}", hint="leave --user out")
    person = named or person_behind_sudo(os.environ)
    pump = named._replace(groups=(named.gid,)) if named else nobody_account()
    if can_become(pump) and can_become(person or pump):
        return People(pump, person)
    if named is None:  # root of a user namespace: an ordinary user already
        return People(None, None)
    raise NotAllowedError(
        f"this user namespace does not have the user {named.name}", hint="use another --user"
    )
