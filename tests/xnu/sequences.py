"""Sequences of steps for hypothesis, from a pair that is joined and up."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.darwin.rig import IO, PRIMARY
from tests.xnu.play import Step
from tests.xnu.releases import Release
from tests.xnu.scenario import ABSENT

START: Step = ("start", PRIMARY, IO)

_NAMES = st.sampled_from([PRIMARY, IO])
_READERS = st.sampled_from(["r", "bpf"])
_WRITERS = st.sampled_from(["r", "bpf", "ndrv"])
_LENGTHS = [14, 15, 16, 17, 60, 61, 1513, 1514, 1515, 1518, 1519, 2048]
# Before macOS 15 a frame of more than one cluster may have to wait for the one behind it.
_LONG = [2049, 4096, 9000, 16384]
_RECORDS = st.one_of(
    st.tuples(st.sampled_from(_LENGTHS)),
    st.tuples(st.just(60), st.sampled_from([0, 17, 19, 20, 40, 65535])),
    st.tuples(st.just(60), st.just(18), st.sampled_from([59, 61, 1 << 31])),
)
_BATCHES = st.lists(_RECORDS, min_size=1, max_size=4)
_RESTS = st.sampled_from([0, 0, 0, -3, -1, 1, 2, 3, 4, 17, 18, 19, 20])
_FLAGS = st.sampled_from(["BIOCSHDRCMPLT", "BIOCSBATCHWRITE"])


def _step(verb: str, *arguments: st.SearchStrategy[object]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(verb), *arguments)


def _frames(long: list[int]) -> st.SearchStrategy[Step]:
    batchers = _WRITERS if long else _READERS  # through AF_NDRV a batch is one long frame
    return st.one_of(
        _step("write", _WRITERS, st.sampled_from(_LENGTHS + long), st.integers(0, 255)),
        _step("write_batch", batchers, _BATCHES, _RESTS),
        _step("read", _READERS),
        _step("readable", _READERS),
        _step("drops", _READERS),
    )


def _settings(looks: list[str]) -> st.SearchStrategy[Step]:
    return st.one_of(
        _step("set", _READERS, _FLAGS, st.integers(0, 1)),
        _step("set", _READERS, st.just("BIOCSBLEN"), st.just(4096)),
        _step("read", _READERS, st.sampled_from([0, 4096])),
        _step("set_mtu", _NAMES, st.sampled_from([71, 72, 1500, 2048, 2049])),
        _step("up", _NAMES),
        _step("down", _NAMES),
        _step("join", st.just(PRIMARY), st.sampled_from([IO, "", ABSENT])),
        _step("join", st.just(IO), st.sampled_from([PRIMARY, ""])),
        st.sampled_from(looks).flatmap(lambda verb: _step(verb, _NAMES)),
    )


# These take the simulation long: Linux waits for all processors when such a socket is closed.
_OPENING = st.one_of(
    _step("attach", _READERS, st.sampled_from([PRIMARY, IO, ABSENT])),
    _step("close", _WRITERS),
    _step("reader", st.just("r"), st.sampled_from([1, 2]), _NAMES),
    _step("writer", st.just("ndrv"), _NAMES, st.sampled_from([1, 1514, 16384])),
    _step("connect", st.just("ndrv"), _NAMES),
    _step("create", _NAMES),
    _step("destroy", _NAMES),
)


def sequences(release: Release) -> st.SearchStrategy[list[Step]]:
    """Up to twelve steps from `START` on: most move frames, few open or make anything."""
    long = _LONG if release.number > 10063 else []
    # On macOS 10.13 a feth that is made again starts as promiscuous as it was destroyed.
    looks = ["peer", "active", "mtu", *(["flags"] if release.number > 4570 else [])]
    kinds = [_frames(long)] * 17 + [_settings(looks)] * 7 + [_OPENING]
    return st.lists(st.sampled_from(kinds).flatmap(lambda kind: kind), max_size=12)
