"""``--selftest`` on a simulated Mac: what it says of it, and of each way in which it can differ."""

from __future__ import annotations

import errno
import json
import re
import signal
import subprocess
from typing import Any, NamedTuple

import pytest

from tests.darwin.simulation import DEVIATIONS, SimulatedDarwin
from tests.live.private import end_by_signal
from tests.live.programs import ROOT, on_mac
from tests.patience import PATIENCE

pytestmark = pytest.mark.live
exhaustive = pytest.mark.exhaustive

SIZES = [f"size {size}" for size in (14, 60, 1514, 2048, 2049, 8192, 8193, 16384)]
ALL_TRAFFIC = [
    *("own frames", "padding", "VLAN", "batch read", "record header", "record alignment"),
    *("order", "drops", "batch write", "batch refused"),
    *SIZES,
]


class Told(NamedTuple):
    """What came of it: the exit status, and the facts that are not as expected."""

    status: int
    differs: dict[str, str]
    missing: list[str]
    whole: dict[str, Any]


def command(darwin: SimulatedDarwin, *options: str) -> list[str]:
    return ["nsenter", f"--net={darwin.namespace}", *on_mac(darwin), "--selftest", *options]


def run(darwin: SimulatedDarwin) -> Told:
    done = subprocess.run(
        command(darwin, "--json"), cwd=ROOT, capture_output=True, timeout=3 * PATIENCE, check=False
    )
    told = json.loads(done.stdout)
    facts = told["facts"]
    assert darwin.interfaces() == {}
    assert told["works"] == (done.returncode == 0), done.stderr
    if told["works"]:
        assert done.stderr == b""
    else:
        assert done.stderr.decode() == f"fethpipe: {told['error']}\n"
    return Told(
        status=done.returncode,
        differs={fact["name"]: fact["seen"] for fact in facts if fact["outcome"] == "differs"},
        missing=[fact["name"] for fact in facts if fact["outcome"] == "not available"],
        whole=told,
    )


BATCHES = ["batch write", "batch refused"]
NO_BATCHES_BEFORE_14_1 = "BIOCSBATCHWRITE: EINVAL (Invalid argument), it came with macOS 14.1"


@pytest.mark.parametrize(
    ("release", "missing"),
    [
        pytest.param("24.1.0", [], id="macOS 15", marks=exhaustive),
        pytest.param("23.4.0", [], id="macOS 14.4", marks=exhaustive),
        pytest.param("22.6.0", BATCHES, id="macOS 13", marks=exhaustive),
        pytest.param("19.6.0", BATCHES, id="macOS 10.15", marks=exhaustive),
        pytest.param("17.7.0", ["max_mtu kept", *BATCHES], id="macOS 10.13"),
    ],
)
def test_nothing_differs_on(darwin: SimulatedDarwin, release: str, missing: list[str]) -> None:
    told = run(darwin)
    assert (told.status, told.differs, told.missing) == (0, {}, missing)
    system = told.whole["machine"]["system"]
    assert re.fullmatch(rf"Darwin {re.escape(release)} \(macOS 1[0-9][.0-9]+\) arm64", system)
    seen = {fact["name"]: fact["seen"] for fact in told.whole["facts"]}
    assert set(SIZES) <= seen.keys()
    if "batch write" in missing:
        assert seen["batch write"] == NO_BATCHES_BEFORE_14_1
    measures = [measure["name"] for measure in told.whole["measures"]]
    assert [name for name in measures if name.startswith(("write", "batch"))] == [
        "write to AF_NDRV",
        "write to BPF",
        *(f"batch of {size} to BPF" for size in (8, 32, 64) if "batch write" not in missing),
    ]
    units = {measure["unit"] for measure in told.whole["measures"]}
    assert units == {"frames/s", "Mbit/s", "us", "us/frame"}
    assert all(measure["value"] > 0 for measure in told.whole["measures"])
    steps = told.whole["steps"]
    assert steps[0] == "tunnel: feth10000 is up, 203.0.113.1/24"
    assert "tunnel: datagrams of 0 to 9000 bytes came back unchanged" in steps
    assert steps[-1] == "tunnel: feth10000 has gone"


class Case(NamedTuple):
    """A deviation, the one fact that differs by it, if any, what is seen, and what cannot be tried
    then.
    """

    name: str
    value: int
    fact: str
    seen: str
    missing: tuple[str, ...] = ()
    works: bool = True


CASES = [
    Case("max_mtu_ignored", 1, "max_mtu raised", "2048", ("size 8192", "size 8193", "size 16384")),
    Case("routes_refused", 1, "route", "EINVAL (Invalid argument)"),
    Case("max_mtu_follows", 1, "max_mtu kept", "it went from 2048 to 16370"),
    Case("mac_ignored", 1, "MAC", "66:65:74:68:27:11"),
    Case("link_never_active", 1, "link", "inactive"),
    Case("send_buffer_default", 4096, "NDRV send buffer", "4096"),
    Case(
        *("send_buffer_limit", 9000, "NDRV enlarged", "9000, but we asked for 16384"),
        ("size 16384",),
    ),
    Case("buffer_length_limit", 65536, "BPF buffer", "65536"),
    Case("bpf_write_limit", 1000, "BPF write", "EMSGSIZE (Message too long)"),
    Case("see_sent_always", 1, "own frames", "it does"),
    Case("padded_frames", 1, "padding", "it comes with 60 bytes"),
    Case("vlan_tags_stripped", 1, "VLAN", "it comes without"),
    Case("batch_write_missing", 1, "", "", tuple(BATCHES)),
    Case("one_frame_per_read", 1, "batch read", "1 of 64", ("record alignment",)),
    Case("bpf_header_length", 26, "record header", "26"),
    Case("bpf_alignment", 8, "record alignment", "88 after 81", works=False),
    Case("frames_reordered", 1, "order", "some overtake others"),
    Case("drops_uncounted", 1, "drops", "none is counted"),
    Case("hardware_checksums", 1, "checksums", "the UDP checksum is wrong", works=False),
    Case("injection_lost", 1, "injection", "nothing comes", tuple(ALL_TRAFFIC), works=False),
    Case(
        *("reception_lost", 1, "reception", "nothing comes"),
        ("checksums", *ALL_TRAFFIC),
        works=False,
    ),
]


# All that can be tried at once, because none hides the effect of another one.
TOGETHER = [
    case
    for case in CASES
    if case.works and case.name not in ("max_mtu_ignored", "one_frame_per_read")
]


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(TOGETHER, id="together"),
        *(pytest.param([case], id=case.name, marks=exhaustive) for case in CASES),
    ],
)
def test_it_tells_precisely_what_differs(darwin: SimulatedDarwin, cases: list[Case]) -> None:
    for case in cases:
        darwin.deviate(case.name, case.value)
    told = run(darwin)
    assert told.differs == {case.fact: case.seen for case in cases if case.fact}
    missing = {name for case in cases for name in case.missing}
    assert sorted(told.missing) == sorted(missing)
    assert told.status == (0 if all(case.works for case in cases) else 71)


def test_it_names_a_setting_that_spoils_every_feth(darwin: SimulatedDarwin) -> None:
    darwin.alter_frames(1)
    told = run(darwin)
    assert told.differs == {"settings": "net.link.fake.hwcsum is not 0"}
    assert "cannot create a feth: net.link.fake.hwcsum is not 0" in told.whole["error"]
    assert told.status == 73


def test_no_deviation_is_left_out() -> None:
    assert {case.name for case in CASES} == DEVIATIONS.keys()


def test_it_tells_of_other_errnos(darwin: SimulatedDarwin) -> None:
    """Each of them at its own fact, and nowhere else."""
    answers = {
        "feth exists": ("SIOCIFCREATE2", errno.EEXIST, errno.EBUSY),
        "feth absent": ("SIOCGIFFLAGS", errno.ENXIO, errno.ENODEV),
        "peer busy": ("SIOCSDRVSPEC", errno.EBUSY, errno.EINVAL),
        "peer unsupported": ("SIOCGDRVSPEC", errno.EOPNOTSUPP, errno.ENOTTY),
        "mtu refused": ("SIOCSIFMTU", errno.EINVAL, 0),
        "NDRV too long": ("ndrv_write", errno.EMSGSIZE, errno.EFBIG),
        "NDRV absent": ("bind", errno.EADDRNOTAVAIL, errno.ENXIO),
        "NDRV unconnected": ("ndrv_write", errno.EDESTADDRREQ, errno.ENOTCONN),
        "NDRV down": ("ndrv_write", errno.ENETDOWN, errno.ENXIO),
        "NDRV gone": ("ndrv_write", errno.ENXIO, errno.ECONNRESET),
        "BPF length late": ("BIOCSBLEN", errno.EINVAL, 0),
        "BPF read length": ("read", errno.EINVAL, errno.EIO),
        "BPF absent": ("BIOCSETIF", errno.ENXIO, errno.ENODEV),
        "BPF gone": ("read", errno.ENXIO, errno.EBADF),
        "feth gone": ("SIOCIFDESTROY", errno.ENXIO, errno.ENOENT),
        "batch refused": ("bpf_write", errno.EINVAL, errno.EPERM),
    }
    rules = [darwin.misanswer(*answer) for answer in answers.values()]
    told = run(darwin)
    assert all(rule.hits for rule in rules)
    seen = {fact: text.partition(" (")[0].partition(";")[0] for fact, text in told.differs.items()}
    assert seen == {
        fact: errno.errorcode[other] if other else "it works"
        for fact, (_, _, other) in answers.items()
    }
    assert (told.status, told.missing) == (0, []), told.whole["error"]


@pytest.mark.parametrize("call", ["SIOCIFCREATE2", "SIOCSDRVSPEC"])
def test_a_pair_that_cannot_be_made_is_an_error(darwin: SimulatedDarwin, call: str) -> None:
    darwin.fail(call, errno.ENOMEM, times=None)
    told = run(darwin)
    assert told.status == 73
    assert f"{call}: ENOMEM" in told.whole["error"]


def test_the_words_for_people(darwin: SimulatedDarwin) -> None:
    darwin.deviate("send_buffer_default", 4096)
    done = subprocess.run(
        command(darwin), cwd=ROOT, capture_output=True, timeout=3 * PATIENCE, check=True, text=True
    )
    lines = done.stdout.splitlines()
    assert "ok             a frame longer than the send buffer is EMSGSIZE" in lines
    assert ("differs        an AF_NDRV socket starts with room for 8192 bytes; here: 4096") in lines
    assert "ok             one read takes all frames that wait (64 of 64)" in lines
    assert lines[-1] == "it works"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_pair_outlives_a_signal(darwin: SimulatedDarwin, number: signal.Signals) -> None:
    end_by_signal(command(darwin), b"ok             making", number, child=True)
    assert darwin.interfaces() == {}
