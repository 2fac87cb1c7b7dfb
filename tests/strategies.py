"""Hypothesis strategies: what travels, how it is cut and damaged, and addresses."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Interface, IPv6Interface

from hypothesis import settings
from hypothesis import strategies as st

from fethpipe.abi.address import IPInterface
from fethpipe.ether.frame import HEADER_LENGTH
from fethpipe.wire.framing import FRAMINGS, Framing

# A deadline for one example would measure the machine and its neighbours, not the code.
settings.register_profile("fethpipe", deadline=None)
settings.load_profile("fethpipe")

_USUAL = 64
"""Short payloads find what long ones find, and sooner."""
_REMARKABLE = (1500, 1514, 9014)
_RUNS = (1, 1, 1, 7, 8, 9, 20, 130)
"""How often one length comes in a row; a decoder may cut many equal records at once."""
_LONGEST_RUN = 1 << 15


def framings() -> st.SearchStrategy[Framing]:
    """Every framing."""
    return st.sampled_from(list(FRAMINGS.values()))


def payloads(maximum: int, *, minimum: int = 0) -> st.SearchStrategy[bytes]:
    """Payloads of any length up to ``maximum``, with the remarkable lengths among them."""
    lengths = [minimum, HEADER_LENGTH - 1, HEADER_LENGTH, *_REMARKABLE, maximum - 1, maximum]
    remarkable = st.sampled_from([length for length in lengths if minimum <= length <= maximum])
    return st.one_of(
        st.binary(min_size=minimum, max_size=min(_USUAL, maximum)),
        st.builds(_patterned, remarkable, st.binary(min_size=1, max_size=8)),
    )


def payload_lists(maximum: int) -> st.SearchStrategy[list[bytes]]:
    """Payloads in the order of a stream, some of them in runs of one length."""
    run = st.builds(_run, payloads(maximum), st.sampled_from(_RUNS))
    return st.lists(run, max_size=4).map(lambda runs: [payload for run in runs for payload in run])


def frames(maximum: int) -> st.SearchStrategy[bytes]:
    """Payloads that are long enough for an Ethernet header."""
    return payloads(maximum, minimum=HEADER_LENGTH)


def cuts() -> st.SearchStrategy[list[int]]:
    """Where to cut a stream, for :func:`chunked`; near its start more often than not."""
    positions = st.one_of(st.integers(0, 40), st.integers(0, 1 << 18))
    return st.lists(positions, max_size=12)


def chunked(stream: bytes, positions: Sequence[int]) -> list[bytes]:
    """Return the stream cut at these positions; none of the chunks is empty."""
    edges = sorted({0, len(stream), *(cut for cut in positions if cut < len(stream))})
    return [stream[edges[i] : edges[i + 1]] for i in range(len(edges) - 1)]


@st.composite
def corrupted(draw: st.DrawFn, stream: bytes) -> bytes:
    """Damage a stream in one place."""
    start = draw(st.integers(0, len(stream)))
    stop = draw(st.integers(start, min(len(stream), start + 8)))
    return stream[:start] + draw(st.binary(max_size=8)) + stream[stop:]


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[Framing, list[bytes]]:
    """A framing and the chunks of a stream in it, which may be damaged."""
    framing = draw(framings())
    stream = framing.encode(draw(payload_lists(framing.maximum)))
    if draw(st.booleans()):
        stream = draw(corrupted(stream))
    return framing, chunked(stream, draw(cuts()))


def interfaces() -> st.SearchStrategy[IPInterface]:
    """IPv4 and IPv6 addresses with a prefix length."""
    return st.one_of(
        st.builds(
            lambda ip, prefix: IPv4Interface((ip, prefix)), st.ip_addresses(v=4), st.integers(0, 32)
        ),
        st.builds(
            lambda ip, prefix: IPv6Interface((ip, prefix)),
            st.ip_addresses(v=6),
            st.integers(0, 128),
        ),
    )


def macs() -> st.SearchStrategy[bytes]:
    """Addresses of single stations."""
    return st.binary(min_size=6, max_size=6).filter(lambda mac: any(mac) and not mac[0] & 1)


def _run(payload: bytes, count: int) -> list[bytes]:
    """Return payloads as long as this one, and not all the same; one alone where it is long."""
    if len(payload) * count > _LONGEST_RUN:
        return [payload]
    return [payload[i:] + payload[:i] for i in range(count)]


def _patterned(length: int, pattern: bytes) -> bytes:
    return (pattern * (length // len(pattern) + 1))[:length]
