"""Many streams against the reference: valid and damaged, cut in every way."""

from __future__ import annotations

from random import Random, SystemRandom

import pytest
from hypothesis import given, settings

from fethpipe.wire.framing import Framing
from tests.strategies import chunked, cut_streams
from tests.wire.reference import SHAPES, check, encode

BLOCK = 100
"""So many streams follow from one seed; to seed takes as long as to decode a stream."""

NAMES = tuple(SHAPES)
ODD = b"\0\0\0\1\2\x0e\x0f\x4d\x4e\xff"
"""Bytes that make lengths which are short, or just possible, or just impossible."""


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.exhaustive)])
def test_random_streams(count: int) -> None:
    first = SystemRandom().getrandbits(48)
    random = Random()
    for seed in range(first, first + count // BLOCK):
        random.seed(seed)
        try:
            for _ in range(BLOCK):
                check(*random_stream(random))
        except BaseException as error:
            raise AssertionError(f"one of the streams that follow from Random({seed})") from error


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.exhaustive)])
def test_streams_that_hypothesis_draws(count: int) -> None:
    @settings(max_examples=count)
    @given(cut_streams())
    def check_one(drawn: tuple[Framing, list[bytes]]) -> None:
        framing, chunks = drawn
        check(framing.name, chunks)

    check_one()


def random_stream(random: Random) -> tuple[str, list[bytes]]:
    """Return the name of a framing and the chunks of a stream of a few short records."""
    name = NAMES[int(len(NAMES) * random.random())]
    sizes = [int(32 * random.random() ** 3) for _ in range(int(6 * random.random()))]
    if random.random() < 0.01:
        sizes += [int(8 * random.random())] * int(40 * random.random())
    stream = damaged(random, encode(name, map(random.randbytes, sizes)))
    return name, random_chunks(random, stream)


def damaged(random: Random, stream: bytes) -> bytes:
    """Return the stream as it is, cut short, with a byte changed, or nothing but odd bytes."""
    kind = random.random()
    where = int(random.random() * len(stream))
    if kind < 0.4:
        return stream
    if kind < 0.6:
        return stream[:where]
    if kind < 0.8:
        odd = int(len(ODD) * random.random())
        return stream[:where] + ODD[odd : odd + 1] + stream[where + 1 :]
    return bytes(random.choices(ODD, k=where))


def random_chunks(random: Random, stream: bytes) -> list[bytes]:
    """Return the stream whole, byte by byte, or cut in a few places."""
    kind = random.random()
    if kind < 0.3:
        return [stream]
    if kind < 0.4:
        return chunked(stream, range(len(stream)))
    cuts = range(1 + int(6 * random.random()))
    return chunked(stream, [int(len(stream) * random.random()) for _ in cuts])
