"""The feth device and how it is made, on a simulated Darwin kernel."""

from __future__ import annotations

import errno
import socket
from collections import Counter
from contextlib import ExitStack
from ipaddress import ip_interface
from itertools import cycle
from typing import Any

import pytest

from fethpipe.abi.darwin import FETH_SETTINGS
from fethpipe.errors import DeviceError, FethpipeError, NotAllowedError, UsageError
from fethpipe.netif.darwin import DarwinInterfaces
from fethpipe.netif.mac import stable_mac
from fethpipe.provision.feth import change_feth, check_feth, mac_of_feth
from fethpipe.provision.request import Change, Provisioned
from tests.darwin.inside import Inside, become, receive_descriptors, send_descriptors
from tests.darwin.layouts import frame
from tests.darwin.simulation import SimulatedDarwin
from tests.device.feth_rig import (
    FarSide,
    Rig,
    close,
    discard,
    open_descriptors,
    open_near,
    pair,
    provision_noting,
    provision_with,
)
from tests.live.netns import Namespace

pytestmark = pytest.mark.live

PRIMARY, IO = "feth10000", "feth20000"
ADDRESSES = (ip_interface("10.9.0.1/24"), ip_interface("fd00:9::1/64"))
EVERYTHING = {
    "addresses": ADDRESSES,
    "mac": bytes.fromhex("02005e005301"),
    "mtu": 9000,
    "metric": 5,
}


def _provision(inside: Inside, **request: Any) -> Provisioned:
    provisioned = inside.call(provision_with, request)
    assert isinstance(provisioned, Provisioned)
    return provisioned


# ---- what comes of a request ----


def test_the_default_is_the_first_pair_from_10000_up(
    inside: Inside, darwin: SimulatedDarwin
) -> None:
    provisioned, made = inside.call(provision_noting, {})
    assert (provisioned.interface, provisioned.io_interface) == (PRIMARY, IO)
    assert made == [PRIMARY, IO]
    assert provisioned.up
    primary, io = darwin.interfaces()[PRIMARY], darwin.interfaces()[IO]
    assert (primary.peer, io.peer) == (IO, PRIMARY)
    assert primary.running
    assert io.running
    assert io.promiscuous
    assert primary.mtu == io.mtu == provisioned.mtu == 1500
    assert primary.addresses == io.addresses == ()
    assert darwin.max_mtu == 2048, "there was no need to raise it"
    inside.call(discard, provisioned)
    assert darwin.interfaces() == {}


def test_all_that_is_asked_for_is_done(inside: Inside, darwin: SimulatedDarwin) -> None:
    provisioned = _provision(inside, name="feth12345", **EVERYTHING)
    assert provisioned.interface == "feth12345"
    assert provisioned.io_interface == "feth22345"
    assert provisioned.addresses == ADDRESSES
    primary, io = (darwin.interfaces()[name] for name in pair(provisioned))
    assert primary.mac == provisioned.mac.hex(":") == "02:00:5e:00:53:01"
    assert primary.mtu == io.mtu == provisioned.mtu == 9000
    assert (primary.metric, io.metric) == (5, 0)
    assert {str(address) for address in ADDRESSES} <= set(primary.addresses)
    assert io.addresses == ()
    assert primary.running


@pytest.mark.parametrize("release", ["17.7.0", "18.7.0", "19.6.0", "22.6.0", "24.0.0"])
def test_the_largest_mtu_works_on_every_release(inside: Inside) -> None:
    rig = inside.make(Rig, {"mtu": 16370})
    rig.exchange([frame(14), frame(16384)])


def test_the_mac_is_the_same_every_time_and_another_on_another_mac(left: Namespace) -> None:
    macs = []
    for uuid in ("A", "A", "B"):
        host_uuid = f"564D2E1C-0000-4000-8000-00000000000{uuid}"
        with SimulatedDarwin(host_uuid=host_uuid) as darwin, Inside(darwin, left.path) as inside:
            provisioned = _provision(inside)
            assert darwin.interfaces()[PRIMARY].mac == provisioned.mac.hex(":")
            inside.call(discard, provisioned)
            macs.append(provisioned.mac)
            identity = bytes.fromhex(host_uuid.replace("-", ""))
            assert provisioned.mac == stable_mac(identity, PRIMARY)
    assert macs[0] == macs[1] != macs[2]
    assert macs[0][0] & 3 == 2


def test_the_mac_is_there_before_up(inside: Inside, darwin: SimulatedDarwin) -> None:
    _provision(inside, addresses=ADDRESSES)
    calls = [call.name for call in darwin.calls(on=PRIMARY)]
    assert calls[:2] == ["SIOCIFCREATE2", "SIOCSIFLLADDR"]
    assert calls.index("SIOCSIFLLADDR") < calls.index("SIOCSIFFLAGS") < calls.index("SIOCAIFADDR")
    assert calls[::-1].index("SIOCSIFFLAGS") < calls[::-1].index("SIOCAIFADDR_IN6")


def test_the_io_side_has_another_mac_every_time(inside: Inside, darwin: SimulatedDarwin) -> None:
    macs = set()
    for _ in range(2):
        provisioned = _provision(inside)
        macs.add(darwin.interfaces()[IO].mac)
        assert inside.call(mac_of_feth, IO).hex(":") == darwin.interfaces()[IO].mac
        inside.call(discard, provisioned)
    assert len(macs) == 2
    assert inside.call(mac_of_feth, IO) == b""


def test_the_unit_of_the_io_side_may_be_asked_for(inside: Inside, darwin: SimulatedDarwin) -> None:
    provisioned, made = inside.call(provision_noting, {"name": "feth100", "io_unit": 5100})
    assert pair(provisioned) == ("feth100", "feth5100")
    assert made == ["feth100", "feth5100"]
    assert darwin.interfaces()["feth100"].peer == "feth5100"


@pytest.mark.parametrize("how", ["primary destroyed", "disjoined", "I/O side destroyed"])
def test_a_pair_that_was_taken_apart_is_noticed(
    inside: Inside, darwin: SimulatedDarwin, nobody: int, how: str
) -> None:
    provisioned = _provision(inside)
    check = inside.make(check_feth, provisioned)
    check()
    if how == "primary destroyed":
        darwin.destroy(PRIMARY)
        darwin.create(PRIMARY)  # by its name alone it is there
    elif how == "disjoined":
        inside.make(DarwinInterfaces).set_peer(PRIMARY, "")
    else:
        darwin.destroy(IO)
    inside.call(become, nobody, open_near.__module__)
    with pytest.raises(DeviceError, match=PRIMARY) as raised:
        check()
    told = raised.value.message
    if how == "I/O side destroyed":
        assert told.startswith(
            f"cannot check whether {PRIMARY} is still joined: SIOCGDRVSPEC: ENXIO"
        )
    else:
        assert told == f"{PRIMARY} has gone: {IO} is no longer joined to it"


def test_the_limit_is_raised_before_creation(inside: Inside, darwin: SimulatedDarwin) -> None:
    _provision(inside, mtu=2049)
    calls = [call.name for call in darwin.calls() if call.error == 0]
    calls = [name for name in calls if name not in FETH_SETTINGS]
    assert calls[:2] == ["net.link.fake.max_mtu", "net.link.fake.max_mtu"]
    assert "SIOCIFCREATE2" in calls
    assert darwin.max_mtu == 16370


def test_bpf_and_ndrv_are_set_up_as_they_have_to_be(
    inside: Inside, darwin: SimulatedDarwin
) -> None:
    provisioned = _provision(inside, mtu=16370, inject="ndrv")
    assert len(provisioned.descriptors) == 2
    assert [call.name for call in darwin.calls(on="bpf1")] == [
        *("open", "BIOCSBLEN", "BIOCIMMEDIATE", "BIOCSSEESENT"),
        *("BIOCSETIF", "BIOCSHDRCMPLT", "BIOCPROMISC"),
    ]
    (buffer_length,) = darwin.calls("BIOCSBLEN")
    assert buffer_length.value > 512 << 10
    (send_buffer,) = darwin.calls("setsockopt")
    assert send_buffer.value == 16384
    assert len(darwin.calls("bind")) == len(darwin.calls("connect")) == 1


def test_a_change_changes_both_sides(inside: Inside, darwin: SimulatedDarwin) -> None:
    darwin.max_mtu = 16370
    provisioned = _provision(inside, addresses=ADDRESSES[:1])
    change = Change(add=ADDRESSES[1:], remove=ADDRESSES[:1], mtu=9000)
    inside.call(change_feth, provisioned, change)
    primary, io = darwin.interfaces()[PRIMARY], darwin.interfaces()[IO]
    assert primary.mtu == io.mtu == 9000
    assert "fd00:9::1/64" in primary.addresses
    assert "10.9.0.1/24" not in primary.addresses
    with pytest.raises(DeviceError, match=r"cannot remove 10\.9\.0\.1/24 from feth10000"):
        inside.call(change_feth, provisioned, Change(remove=ADDRESSES[:1]))


@pytest.mark.parametrize("meanwhile", [False, True], ids=["before", "by a faster program"])
@pytest.mark.parametrize("taken", [PRIMARY, IO])
def test_a_unit_of_which_one_side_is_taken_is_passed_over(
    inside: Inside, darwin: SimulatedDarwin, taken: str, meanwhile: bool
) -> None:
    if meanwhile:
        darwin.fail("SIOCIFCREATE2", errno.EEXIST, on=taken)
    else:
        darwin.create(taken)
    provisioned = _provision(inside)
    assert pair(provisioned) == ("feth10001", "feth20001")
    inside.call(discard, provisioned)
    assert list(darwin.interfaces()) == ([] if meanwhile else [taken])


@pytest.mark.parametrize("taken", [PRIMARY, IO])
def test_a_unit_that_was_asked_for_and_is_taken_is_an_error(
    inside: Inside, darwin: SimulatedDarwin, taken: str
) -> None:
    darwin.create(taken)
    with pytest.raises(
        DeviceError, match=f"cannot create {taken}: it already exists; .*--attach"
    ) as raised:
        _provision(inside, name=PRIMARY)
    assert raised.value.status == 73
    assert list(darwin.interfaces()) == [taken]


@pytest.mark.parametrize("times", [4, pytest.param(20, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("name", [None, PRIMARY], ids=["any pair", "the same pair"])
def test_of_two_programs_at_once_each_gets_a_pair_of_its_own_or_none(
    inside: Inside, darwin: SimulatedDarwin, left: Namespace, times: int, name: str | None
) -> None:
    with Inside(darwin, left.path) as other:
        for _ in range(times):
            for each in (inside, other):
                each.start(provision_with, {"name": name})
            outcomes = [_outcome(each) for each in (inside, other)]
            devices = [each for each in outcomes if isinstance(each, Provisioned)]
            refusals = [each for each in outcomes if isinstance(each, str)]
            assert len(devices) == (1 if name else 2)
            assert all("it already exists" in each for each in refusals)
            interfaces = darwin.interfaces()
            assert sorted(interfaces) == sorted(each for made in devices for each in pair(made))
            for device in devices:
                assert interfaces[device.interface].peer == device.io_interface
            for each, outcome in zip((inside, other), outcomes):
                if isinstance(outcome, Provisioned):
                    each.call(discard, outcome)


def _outcome(inside: Inside) -> Provisioned | str:
    """Return the device, or why there is none."""
    try:
        provisioned = inside.finish()
    except DeviceError as error:
        return error.message
    assert isinstance(provisioned, Provisioned)
    return provisioned


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"name": "fp0"}, "fp0 is not a feth name"),
        ({"name": "feth"}, "feth is not a feth name"),
        ({"name": "feth01"}, "feth01 is not a feth name"),
        ({"name": "feth22768"}, "feth22768 cannot have an I/O side"),
        ({"name": "feth100", "io_unit": 100}, "feth100 and feth100 cannot form a pair"),
        ({"name": "feth100", "io_unit": 32768}, "feth100 and feth32768 cannot form a pair"),
        ({"mtu": 71}, "72 to 16370"),
        ({"mtu": 16371}, "72 to 16370"),
    ],
)
def test_what_no_pair_can_have_is_refused(
    inside: Inside, darwin: SimulatedDarwin, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        _provision(inside, **asked)
    assert darwin.calls() == []


# ---- attaching ----


@pytest.fixture
def prepared(inside: Inside) -> Any:
    """The interfaces of a Mac that has feth3, with feth8 as its peer."""
    interfaces = inside.make(DarwinInterfaces)
    for name in ("feth3", "feth8"):
        interfaces.create(name)
    interfaces.set_peer("feth3", "feth8")
    return interfaces


def test_attaching_changes_nothing(inside: Inside, darwin: SimulatedDarwin, prepared: Any) -> None:
    before = darwin.interfaces()
    provisioned, made = inside.call(provision_noting, {"name": "feth3", "attach": True})
    assert pair(provisioned) == ("feth3", "feth8")
    assert made == []
    assert not provisioned.up
    after = darwin.interfaces()
    assert after.pop("feth8").promiscuous
    before.pop("feth8")
    assert after == before
    inside.call(close, provisioned)
    assert darwin.interfaces()["feth3"] == after["feth3"]


def test_attaching_configures_what_is_asked_for(
    inside: Inside, darwin: SimulatedDarwin, prepared: Any
) -> None:
    _provision(inside, name="feth3", attach=True, **{**EVERYTHING, "mtu": 2000})
    primary, io = darwin.interfaces()["feth3"], darwin.interfaces()["feth8"]
    assert (primary.mac, primary.mtu, primary.metric) == ("02:00:5e:00:53:01", 2000, 5)
    assert primary.running
    assert (io.mtu, io.up) == (2000, True)  # the AF_NDRV socket brings it up
    assert {str(address) for address in ADDRESSES} <= set(primary.addresses)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("feth4", "cannot attach to feth4: it does not exist"),
        ("en0", "cannot attach to en0: it is not a feth"),
        ("feth5", "cannot attach to feth5: it has no peer; join it first: ifconfig feth5 peer"),
    ],
)
def test_what_cannot_be_attached_to(inside: Inside, prepared: Any, name: str, message: str) -> None:
    prepared.create("feth5")
    with pytest.raises(DeviceError) as raised:
        _provision(inside, name=name, attach=True)
    assert str(raised.value).startswith(message)


def test_an_existing_pair_keeps_its_largest_mtu(inside: Inside, prepared: Any) -> None:
    with pytest.raises(DeviceError, match=r"the MTU of feth3 to 9000: .* at most 2048"):
        _provision(inside, name="feth3", attach=True, mtu=9000)


# ---- what fails ----


def _calls_of(inside: Inside, darwin: SimulatedDarwin) -> list[tuple[str, int]]:
    """Return every call that a whole provisioning makes, with how many of its name precede."""
    discarded = len(darwin.calls())
    provisioned = _provision(inside, **EVERYTHING, inject="bpf")
    names = [call.name for call in darwin.calls()[discarded:]]
    inside.call(discard, provisioned)
    counts: Counter[str] = Counter()
    calls = []
    for name in names:
        calls.append((name, counts[name]))
        counts[name] += 1
    return calls


# The names in messages for calls that are no ioctl.
_TOLD = {"open": "/dev/bpf1", "setsockopt": "SO_SNDBUF", "getsockopt": "SO_SNDBUF"}
# After these failures fethpipe goes another way; each has its own test.
_SURVIVED = {
    ("open", errno.EBUSY),
    ("SIOCIFCREATE2", errno.EEXIST),
    ("SIOCIFCREATE2", errno.EBUSY),
    ("net.link.fake.max_mtu", errno.ENOENT),
}


_ERRORS = [
    *(errno.EPERM, errno.EACCES, errno.ENXIO, errno.EINVAL),
    *(errno.EBUSY, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.EOPNOTSUPP),
]


@pytest.mark.parametrize(
    "errors",
    [
        pytest.param(_ERRORS, id="each in turn"),
        *(
            pytest.param([error], id=errno.errorcode[error], marks=pytest.mark.exhaustive)
            for error in _ERRORS
        ),
    ],
)
def test_a_failure_of_any_step_is_told_and_leaves_nothing(
    inside: Inside, darwin: SimulatedDarwin, errors: list[int]
) -> None:
    calls = _calls_of(inside, darwin)
    assert len(calls) > 30
    descriptors = inside.call(open_descriptors)
    for (name, before), error in zip(calls, cycle(errors)):
        if name == "BIOCSBATCHWRITE" or (name, error) in _SURVIVED:
            continue
        darwin.max_mtu = 2048
        rule = darwin.fail(name, error, after=before)
        with pytest.raises(FethpipeError) as raised:
            _provision(inside, **EVERYTHING, inject="bpf")
        assert rule.hits == 1, name
        rule.clear()
        assert darwin.interfaces() == {}, f"{name} failed and left a pair"
        assert inside.call(open_descriptors) == descriptors, f"{name} failed and left descriptors"
        _assert_told(raised.value, name, error)


def _assert_told(told: FethpipeError, name: str, error: int) -> None:
    """It is one line that names the thing, the call and the reason, and has the right status."""
    assert told.message.startswith("cannot ")
    assert "\n" not in str(told)
    if name == "SIOCSIFMTU" and error == errno.EINVAL:
        assert "at most 16370" in told.message
        return
    assert f": {_TOLD.get(name, name)}: {errno.errorcode[error]} (" in told.message
    not_allowed = error in (errno.EPERM, errno.EACCES)
    assert type(told) is (NotAllowedError if not_allowed else DeviceError)
    assert told.status == (77 if not_allowed else 73)
    assert bool(told.hint) == not_allowed
    if name.startswith("BIOC"):
        assert f"attach a BPF device to {IO}" in told.message
    elif name in ("socket", "bind", "connect", "setsockopt"):
        assert f"open an AF_NDRV socket on {IO}" in told.message
    elif name not in ("open", "gethostuuid") and not name.startswith("net.link.fake."):
        assert PRIMARY in told.message or IO in told.message


def test_taken_bpf_devices_are_passed_over(inside: Inside, darwin: SimulatedDarwin) -> None:
    darwin.occupy(1, 2, 3)
    _provision(inside)
    assert [call.device for call in darwin.calls("open")] == ["bpf1", "bpf2", "bpf3", "bpf4"]


@pytest.mark.parametrize(
    ("error", "times"), [(errno.EBUSY, None), (errno.ENOENT, 1)], ids=["EBUSY", "ENOENT"]
)
def test_when_every_bpf_device_is_taken(
    inside: Inside, darwin: SimulatedDarwin, error: int, times: int | None
) -> None:
    darwin.fail("open", error, times=times)
    with pytest.raises(DeviceError, match="BPF device: all are in use; end a program"):
        _provision(inside)
    assert darwin.interfaces() == {}


def test_a_pair_that_cannot_be_removed_again_is_told_as_well(
    inside: Inside, darwin: SimulatedDarwin
) -> None:
    darwin.fail("BIOCSETIF", errno.ENXIO)
    darwin.fail("SIOCIFDESTROY", errno.EBUSY, on=IO)
    with pytest.raises(DeviceError, match="BIOCSETIF: ENXIO"):
        _provision(inside)
    assert list(darwin.interfaces()) == [IO]
    assert f"cannot destroy {IO}: EBUSY" in inside.said()


def test_destroying_what_is_gone_is_no_error(inside: Inside, darwin: SimulatedDarwin) -> None:
    provisioned = _provision(inside)
    darwin.destroy(IO)
    inside.call(discard, provisioned)
    assert darwin.interfaces() == {}


def test_destroying_may_fail(inside: Inside, darwin: SimulatedDarwin) -> None:
    provisioned = _provision(inside)
    darwin.fail("SIOCIFDESTROY", errno.EBUSY)
    with pytest.raises(DeviceError, match="cannot destroy feth10000: SIOCIFDESTROY: EBUSY"):
        inside.call(discard, provisioned)


# ---- frames ----


def test_frames_of_every_length_pass_both_ways(inside: Inside) -> None:
    rig = inside.make(Rig, {"mtu": 16370})
    rig.exchange_every_length(range(14, 16384 + 1))
    assert rig.drops() == {}
    assert rig.kernel_drops() == 0


@pytest.mark.parametrize("limit", [4096, 1 << 16])
def test_what_the_kernel_makes_of_the_buffer_length_counts(
    inside: Inside, darwin: SimulatedDarwin, limit: int
) -> None:
    darwin.deviate("buffer_length_limit", limit)
    rig = inside.make(Rig, {})
    rig.burst(100, 10, 1514)


def test_frames_cut_short_by_the_kernel_are_dropped_and_counted(
    inside: Inside, darwin: SimulatedDarwin
) -> None:
    darwin.deviate("buffer_length_limit", 4096)
    rig = inside.make(Rig, {"mtu": 9000})
    whole = frame(60)
    _far(inside, [whole, frame(9014), whole])
    assert rig.receive(2) == [whole, whole]
    assert rig.drops() == {"damaged by the kernel": 1}


def _far(inside: Inside, frames: list[bytes]) -> None:
    inside.make(FarSide, PRIMARY).send(frames)


def test_the_pump_works_as_nobody_with_descriptors_that_it_was_given(
    darwin: SimulatedDarwin, left: Namespace, nobody: int
) -> None:
    ours, theirs = socket.socketpair()
    with ExitStack() as stack:
        stack.enter_context(ours)
        stack.enter_context(theirs)
        keeper = stack.enter_context(Inside(darwin, left.path, pass_fds=(ours.fileno(),)))
        pump = stack.enter_context(Inside(darwin, left.path, pass_fds=(theirs.fileno(),)))
        pump.call(become, nobody, open_near.__module__)
        provisioned = _provision(keeper, mtu=16370, inject="bpf")
        far = keeper.make(FarSide, PRIMARY)
        keeper.call(send_descriptors, ours.fileno(), provisioned.descriptors)
        descriptors = pump.call(receive_descriptors, theirs.fileno(), 3)
        device = pump.make(open_near, provisioned._replace(descriptors=descriptors))
        frames = [frame(length) for length in (14, 60, 1514, 16384)]
        far.send(frames)
        assert device.receive(len(frames)) == frames
        device.send(frames)
        assert far.receive(len(frames)) == frames
        darwin.fail("bpf_write", errno.EIO)  # from here on through AF_NDRV
        device.send(frames)
        device.send(frames)
        assert far.receive(2 * len(frames)) == frames + frames
        assert device.kernel_drops() == 0
        assert {call.user for call in darwin.calls("BIOCGSTATS")} == {nobody}
        pump.kill()
        keeper.call(discard, provisioned._replace(descriptors=()))
        assert darwin.interfaces() == {}


# ---- how much work it is ----


def test_one_read_takes_many_frames_and_one_write_sends_one(
    inside: Inside, darwin: SimulatedDarwin
) -> None:
    rig = inside.make(Rig, {"inject": "ndrv"})
    before = darwin.counters()
    rig.burst(10_000, 500)
    after = darwin.counters()
    done = {name: after[name] - before[name] for name in after}
    # The far side makes as many calls.
    assert done["bpf_frames_read"] == 2 * 10_000
    assert done["bpf_reads"] + done["bpf_empty_reads"] <= 0.1 * done["bpf_frames_read"]
    assert done["ndrv_writes"] == 2 * 10_000
    assert done["bpf_writes"] == done["refused_writes"] == 0


def test_one_write_to_the_stream_carries_one_batch(inside: Inside, darwin: SimulatedDarwin) -> None:
    rig = inside.make(Rig, {"inject": "ndrv"})
    writes, frames = rig.pump(20, 500)
    assert frames == 20 * 500
    counters = darwin.counters()
    assert counters["bpf_frames_read"] == frames
    assert writes == counters["bpf_reads"]


def test_a_write_of_batch_injection_carries_many_frames(
    inside: Inside, darwin: SimulatedDarwin
) -> None:
    rig = inside.make(Rig, {"inject": "bpf"})
    rig.burst(10_000, 500)
    counters = darwin.counters()
    assert counters["bpf_frames_written"] == 10_000
    assert counters["bpf_writes"] <= 0.1 * 10_000
    assert counters["ndrv_writes"] == 10_000  # of the far side
    assert rig.passed() == (10_000, 600_000, 10_000, 600_000)
    assert inside.said() == ""


def test_at_the_largest_mtu_too_if_the_stream_brings_as_many(
    inside: Inside, darwin: SimulatedDarwin
) -> None:
    """A pipe of Linux has room for 15 such records; a smaller pipe makes smaller batches."""
    rig = inside.make(Rig, {"mtu": 16370, "inject": "bpf"})
    for _ in range(20):
        rig.replay([frame(16384, mark=mark) for mark in range(15)])
    counters = darwin.counters()
    assert counters["bpf_frames_written"] == 20 * 15
    assert counters["bpf_writes"] <= 0.1 * 20 * 15


# ---- sending that fails ----


def test_frames_that_the_kernel_refuses_are_counted_by_name(
    inside: Inside, darwin: SimulatedDarwin
) -> None:
    rig = inside.make(Rig, {"inject": "ndrv"})
    far = inside.make(FarSide, PRIMARY)
    whole = frame(60)
    rig.send([whole, frame(16389), whole])
    darwin.fail("ndrv_write", errno.EINVAL)
    darwin.fail("ndrv_write", errno.EAGAIN)
    rig.send([whole, whole, whole])
    assert far.receive(3) == [whole] * 3
    interfaces = inside.make(DarwinInterfaces)
    interfaces.set_up(IO, up=False)
    rig.send([whole, whole])
    interfaces.set_up(IO)
    rig.send([whole])
    assert far.receive(1) == [whole]
    assert rig.drops() == {
        "too long for the device": 1,
        "refused by the kernel": 1,
        "kernel queue full": 1,
        "interface down": 2,
    }
    assert rig.passed()[2:] == (4, 4 * 60)


def test_a_kernel_out_of_buffers_is_tried_again(inside: Inside, darwin: SimulatedDarwin) -> None:
    rig = inside.make(Rig, {})
    darwin.fail("ndrv_write", errno.ENOBUFS, times=2)
    frames = [frame(60, mark=mark) for mark in range(3)]
    rig.send(frames)
    assert rig.drops() == {}
    assert rig.passed()[2:] == (3, 180)


def test_a_kernel_that_stays_out_of_buffers_holds_nothing_up(
    inside: Inside, darwin: SimulatedDarwin
) -> None:
    rig = inside.make(Rig, {"inject": "ndrv"})
    rule = darwin.fail("ndrv_write", errno.ENOBUFS, times=None)
    rig.send([frame(60)] * 1000)
    assert rig.drops() == {"kernel out of buffers": 1000}
    assert rule.hits < 1010  # it has waited for next to none of them


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ("ndrv_write", errno.ENXIO, "feth10000 has gone: ENXIO"),
        ("ndrv_write", errno.EDESTADDRREQ, "cannot send to feth10000: AF_NDRV: EDESTADDRREQ"),
        ("read", errno.EIO, "cannot receive from feth10000: BPF: EIO"),
    ],
)
def test_a_call_that_fails_for_good_ends_the_device(
    inside: Inside, darwin: SimulatedDarwin, call: str, error: int, message: str
) -> None:
    rig = inside.make(Rig, {"inject": "ndrv"})
    darwin.fail(call, error)
    with pytest.raises(DeviceError, match=message):
        rig.read() if call == "read" else rig.send([frame(60)])


def test_a_bpf_device_that_does_not_answer_cannot_be_used(
    inside: Inside, darwin: SimulatedDarwin
) -> None:
    darwin.fail("BIOCGBLEN", errno.EINVAL)
    with pytest.raises(DeviceError, match="cannot use the BPF device of feth10000: BIOCGBLEN"):
        inside.make(Rig, {"inject": "ndrv"})


def test_the_drops_that_were_known_stay_known(inside: Inside, darwin: SimulatedDarwin) -> None:
    darwin.deviate("buffer_length_limit", 1 << 16)
    rig = inside.make(Rig, {})
    _, dropped = rig.overload(5000, 1514)
    darwin.fail("BIOCGSTATS", errno.ENXIO)
    assert rig.kernel_drops() == dropped > 0


# ---- batch injection that fails ----


@pytest.mark.parametrize("release", ["22.6.0", "23.0.0"], ids=["macOS 13", "macOS 14.0"])
def test_a_kernel_without_batches_sends_through_ndrv(
    inside: Inside, darwin: SimulatedDarwin
) -> None:
    rig = inside.make(Rig, {"inject": "bpf"})
    rig.burst(1000, 100)
    assert darwin.counters()["bpf_writes"] == 0
    (said,) = inside.said().splitlines()
    assert "cannot send batches through BPF: BIOCSBATCHWRITE: EINVAL" in said


@pytest.mark.parametrize("error", [errno.EIO, errno.EINVAL])
def test_the_first_surprise_ends_batch_injection_and_loses_nothing(
    inside: Inside, darwin: SimulatedDarwin, error: int
) -> None:
    rig = inside.make(Rig, {"inject": "bpf"})
    rig.burst(500, 100)
    darwin.fail("bpf_write", error)
    rig.burst(1000, 100)
    assert darwin.counters()["bpf_frames_written"] == 500
    (said,) = inside.said().splitlines()
    assert f"BPF failed: {errno.errorcode[error]}" in said
    assert rig.drops() == {}


def test_what_the_kernel_refuses_does_not_end_batch_injection(
    inside: Inside, darwin: SimulatedDarwin
) -> None:
    rig = inside.make(Rig, {"inject": "bpf"})
    for error in (errno.ENETDOWN, errno.ENOBUFS):
        darwin.fail("bpf_write", error)
        rig.send([frame(60)] * 3)
    rig.burst(100, 100)
    rig.send([frame(60), frame(1519), frame(60)])
    assert darwin.counters()["bpf_frames_written"] == 102
    assert rig.drops() == {
        "interface down": 3,
        "kernel out of buffers": 3,
        "too long for the device": 1,
    }


def test_a_bpf_that_takes_less_than_the_mtu_is_left_for_good(
    inside: Inside, darwin: SimulatedDarwin
) -> None:
    rig = inside.make(Rig, {})
    rig.burst(100, 100)
    darwin.deviate("bpf_write_limit", 1000)
    rig.exchange([frame(1514)])
    rig.burst(100, 10, size=1514)
    (said,) = inside.said().splitlines()
    assert "BPF failed: EMSGSIZE (Message too long); AF_NDRV takes over" in said
    assert rig.drops() == {}


@pytest.mark.parametrize("deviation", ["", "batch_write_missing", "injection_lost"])
def test_batches_are_the_default_where_they_are_seen_to_leave(
    inside: Inside, darwin: SimulatedDarwin, deviation: str
) -> None:
    if deviation:
        darwin.deviate(deviation)
    provisioned = _provision(inside)
    assert len(provisioned.descriptors) == (2 if deviation else 3)
    assert inside.said() == ""
