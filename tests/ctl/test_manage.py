"""The verbs that make, change and destroy: what they do, and what they refuse to do."""

from __future__ import annotations

import errno
import re

import pytest

from fethpipe.keeper.ledger import Entry, Ledger, open_folder
from tests.ctl.running import Fethctl
from tests.darwin.simulation import SimulatedDarwin
from tests.live.netns import Namespace
from tests.live.ordinary import python_of_nobody
from tests.live.private import Private

pytestmark = pytest.mark.live


@pytest.fixture
def fethctl(left: Namespace, darwin: SimulatedDarwin) -> Fethctl:
    return Fethctl(left, darwin)


# ---- create and destroy ----


def test_all_are_made_or_none(fethctl: Fethctl, darwin: SimulatedDarwin) -> None:
    darwin.create("feth3")
    status, said = fethctl.refused("create", "1", "2", "3")
    assert (status, said) == (73, "cannot create feth3: it already exists")
    assert list(darwin.interfaces()) == ["feth3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("create",), "the following arguments are required: UNIT"),
        (("create", "x"), "'x': not a whole number"),
        (("create", "32768"), "feth32768 cannot exist: units go from 0 to 32767"),
        (("set", "feth1"), "no setting was given"),
        (("set", "sixteen-bytes-ab", "--mtu", "1500"), "an interface name has at most 15 bytes"),
        (("set", "feth1", "--peer", "a/b"), "'a/b': not an interface name"),
        (("set", "feth1", "--addr", "10.0.0.1"), "'10.0.0.1': needs a prefix length"),
        (("set", "feth1", "--mac", "01:00:00:00:00:00"), "a multicast address"),
        (("set", "feth1", "--mtu", "71"), "an MTU of 71 is out of range for a feth: 72 to 16370"),
        (("set", "feth1", "--state", "sideways"), "invalid choice: 'sideways'"),
        (("reap", "feth1"), "unrecognized arguments: feth1"),
        ((), "the following arguments are required: VERB"),
        (("fly",), "'fly'"),
    ],
)
def test_what_cannot_be_is_a_matter_of_usage(
    fethctl: Fethctl, darwin: SimulatedDarwin, arguments: tuple[str, ...], message: str
) -> None:
    darwin.create("feth1")
    status, said = fethctl.refused(*arguments)
    assert status == 64
    assert message in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("destroy", "feth9"),
        ("set", "feth9", "--mtu", "1400"),
        ("set", "feth1", "--peer", "feth9"),
        ("status", "feth9"),
        ("capture", "feth9"),
        ("icmp", "feth9", "10.0.0.2"),
    ],
)
def test_an_interface_that_is_not_there_is_named(
    fethctl: Fethctl, darwin: SimulatedDarwin, arguments: tuple[str, ...]
) -> None:
    darwin.create("feth1")
    status, said = fethctl.refused(*arguments)
    assert status == 73
    assert said.endswith(": feth9 does not exist")


def test_nothing_is_destroyed_if_one_is_missing(fethctl: Fethctl, darwin: SimulatedDarwin) -> None:
    darwin.create("feth1")
    assert fethctl.refused("destroy", "feth1", "feth2")[0] == 73
    assert list(darwin.interfaces()) == ["feth1"]


# ---- set ----


def test_a_peer_that_is_taken_is_named(fethctl: Fethctl, darwin: SimulatedDarwin) -> None:
    fethctl("create", "1", "2", "3", "4")
    fethctl("set", "feth1", "--peer", "feth2")
    fethctl("set", "feth3", "--peer", "feth4")
    status, said = fethctl.refused("set", "feth1", "--peer", "feth3")
    assert status == 73
    assert said == (
        "cannot join feth1 and feth3: feth1 is joined to feth2 and feth3 is joined to feth4; "
        "disconnect them first: fethctl set feth1 --peer none"
    )
    fethctl("set", "feth1", "--peer", "none")
    fethctl("set", "feth1", "--peer", "none")  # there is nothing left to part
    status, said = fethctl.refused("set", "feth1", "--peer", "feth3")
    assert "cannot join feth1 and feth3: feth3 is joined to feth4" in said
    fethctl("set", "feth4", "--peer", "none")
    fethctl("set", "feth1", "--peer", "feth3")
    assert darwin.interfaces()["feth3"].peer == "feth1"


def test_settings_do_not_undo_each_other(fethctl: Fethctl, darwin: SimulatedDarwin) -> None:
    fethctl("create", "1")
    fethctl("set", "feth1", "--addr", "10.0.0.1/24", "--addr", "fd00::1/64")
    assert darwin.interfaces()["feth1"].running  # an address brings it up
    everything = ["--mtu", "1400", "--mac", "02:00:5e:00:53:01", "--metric", "5"]
    addresses = ["--addr", "10.0.0.2/24", "--addr", "none"]
    fethctl("set", "feth1", *everything, *addresses, "--state", "down")
    found = darwin.interfaces()["feth1"]
    assert (found.mtu, found.mac, found.metric) == (1400, "02:00:5e:00:53:01", 5)
    assert [each for each in found.addresses if not each.startswith("fe80")] == ["10.0.0.2/24"]
    assert not found.up


def test_a_random_mac_is_another_each_time(fethctl: Fethctl, darwin: SimulatedDarwin) -> None:
    fethctl("create", "1")
    macs = set()
    for _ in range(2):
        fethctl("set", "feth1", "--mac", "random")
        macs.add(darwin.interfaces()["feth1"].mac)
    assert len(macs) == 2
    assert all(int(mac[:2], 16) & 0x03 == 0x02 for mac in macs)


@pytest.mark.parametrize("arguments", [("set", "en0", "--metric", "3"), ("destroy", "en0")])
def test_what_is_no_feth_is_left_alone(fethctl: Fethctl, arguments: tuple[str, ...]) -> None:
    status, said = fethctl.refused(*arguments)
    assert (status, said) == (73, "en0 is not a feth; use --force to do it anyway")


def test_force_changes_any_interface(fethctl: Fethctl, darwin: SimulatedDarwin) -> None:
    darwin.fail("SIOCSIFMETRIC", errno.EBUSY, on="en0")
    status, said = fethctl.refused("set", "en0", "--metric", "3", "--force")
    assert (status, "SIOCSIFMETRIC: EBUSY" in said) == (73, True)
    assert darwin.calls("SIOCSIFMETRIC", on="en0")


def test_an_ordinary_user_is_told(left: Namespace, darwin: SimulatedDarwin) -> None:
    darwin.create("feth1")
    fethctl = Fethctl(left, darwin, python=python_of_nobody())
    for arguments in (("set", "feth1", "--mtu", "1400"), ("capture", "feth1"), ("reap",)):
        status, said = fethctl.refused(*arguments)
        assert status == 77
        assert "run as root" in said


# ---- reap ----


def test_what_a_dead_keeper_left_is_removed_and_nothing_else(left: Namespace) -> None:
    left.run(["ip", "tuntap", "add", "dev", "fp7", "mode", "tap"])
    left.run(["ip", "tuntap", "add", "dev", "fp8", "mode", "tap"])
    found = re.match(r"(\d+):", left.run(["ip", "-o", "link", "show", "fp7"]))
    assert found
    index = int(found[1])
    with Private(left) as private:
        ledger = Ledger(open_folder(str(private.root / "run/fethpipe")))
        ledger.add(Entry("tap", "fp7", index))
        ledger.add(Entry("tap", "fp8", index + 1000))  # another one of this name
        ledger.close(keep=True)
        fethctl = Fethctl(left, launcher=private.entering())
        assert fethctl("reap") == "fp7\n"
        assert fethctl("reap") == ""
        assert private.ledgers() == []
    assert "fp7" not in left.interfaces()
    assert "fp8" in left.interfaces()


# ---- on Linux ----


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("create", "1"), "create feth1"),
        (("destroy", "fp0"), "destroy an interface"),
        (("set", "fp0", "--mtu", "1400"), "change fp0"),
    ],
)
def test_what_is_of_macos_says_so(left: Namespace, arguments: tuple[str, ...], what: str) -> None:
    status, said = Fethctl(left).refused(*arguments)
    assert (status, said) == (64, f"cannot {what}: this needs macOS, but this is Linux")


def test_help_has_every_verb(left: Namespace) -> None:
    said = Fethctl(left)("--help")
    for verb in ("create", "destroy", "set", "status", "list", "reap"):
        assert re.search(rf"^    {verb} ", said, re.MULTILINE)
        assert Fethctl(left)(verb, "--help").startswith(f"usage: fethctl {verb}")


def test_the_version_is_that_of_fethpipe(left: Namespace) -> None:
    assert Fethctl(left)("--version").startswith("fethctl ")


def test_a_reader_that_has_heard_enough_is_no_failure(left: Namespace) -> None:
    with Fethctl(left).start("status") as program:
        program.stdout.close()
        assert program.wait() == 0
        assert program.stderr.all() == ""
