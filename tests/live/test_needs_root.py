"""What root is asked for, and how root prepares a TAP for a user who may not be root."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.netns import Namespace
from tests.live.peer import Peer
from tests.live.private import UID, USER, Private
from tests.live.programs import finish

pytestmark = pytest.mark.live

_OPTIONS = ["--address", "10.9.0.1/24", "--mtu", "1400", "--mac", "02:00:5e:00:53:01"]
_TAP = f"ip tuntap add dev fp0 mode tap user {USER}"
_WANTED = {
    "nothing is there": [],
    "its address is missing": [_TAP, "ip link set fp0 up mtu 1400 address 02:00:5e:00:53:01"],
    "its MTU is another": [
        _TAP,
        "ip address add 10.9.0.1/24 dev fp0",
        "ip link set fp0 up address 02:00:5e:00:53:01",
    ],
}


@pytest.fixture
def private(left: Namespace) -> Iterator[Private]:
    """A system on which USER may not use sudo."""
    with Private(left, sudoers="root ALL=(ALL) ALL\n") as private:
        yield private


@pytest.mark.parametrize("prepared", _WANTED.values(), ids=_WANTED)
def test_what_root_is_asked_to_prepare_will_do(
    private: Private, left: Namespace, peer: Peer, prepared: list[str]
) -> None:
    for command in prepared:
        left.run(private.entering(*command.split()))
    launcher = private.fethpipe_for_user("setsid", *private.as_user())
    name = ["--attach", "fp0"] if prepared else []
    done = finish(left, *name, *_OPTIONS, "--", "true", launcher=launcher).ends(77)
    assert done.stderr.startswith("fethpipe: root is needed to ")
    recipe = done.stderr.strip().partition("have root prepare it: ")[2].partition(";")[0]
    assert "/dev/net/tun" not in recipe
    for command in recipe.split(" && "):
        left.run(private.entering(*command.split()))
    with peer.start(left, "--attach", "fp0", *_OPTIONS, launcher=launcher) as program:
        facts = program.ready()
        assert (facts.mac, facts.mtu) == ("02:00:5e:00:53:01", 1400)
        assert " is up, " in program.stderr.next()


def test_a_tap_of_another_user_is_named(private: Private, left: Namespace) -> None:
    left.run(["ip", "tuntap", "add", "dev", "fp0", "mode", "tap", "user", "0"])
    launcher = private.fethpipe_for_user("setsid", *private.as_user())
    done = finish(left, "--attach", "fp0", "--", "true", launcher=launcher)
    assert "root is needed to attach to TAP fp0, but sudo" in done.stderr
    assert "or choose another name: fp0 belongs to another user" in done.stderr
    done = finish(left, "--", "true", launcher=launcher)
    assert f"ip tuntap add dev fp1 mode tap user {USER} && ip link set fp1 up" in done.stderr


def test_a_closed_tun_device_is_named(private: Private, left: Namespace) -> None:
    left.run(["ip", "tuntap", "add", "dev", "fp0", "mode", "tap", "user", str(UID)])
    left.run(private.entering("chmod", "600", "/dev/net/tun"))
    launcher = private.fethpipe_for_user("setsid", *private.as_user())
    done = finish(left, "--attach", "fp0", "--", "true", launcher=launcher)
    assert "root is needed to open /dev/net/tun, but sudo " in done.stderr
    assert done.stderr.endswith("have root prepare it: chmod 666 /dev/net/tun\n")
