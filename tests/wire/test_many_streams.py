"""A million streams against the reference: valid and damaged, cut in every way.

``FETHPIPE_STREAMS`` is how many to try: by default the million where ``CI`` is set, as most such
systems do, and a tenth of it elsewhere, for it takes half a minute. A failure prints what to set it
to so that the same streams are tried again: ``COUNT@SEED``.
"""

from __future__ import annotations

import os
from random import Random, SystemRandom

from hypothesis import given, settings

from fethpipe.wire.framing import Framing
from tests.strategies import chunked, cut_streams
from tests.wire.reference import SHAPES, check, encode

MILLION = 1_000_000
SHARE = 1000
"""One in so many is drawn by hypothesis, which is far slower, but thinks of odd values."""
BLOCK = 100
"""So many streams follow from one seed; to seed takes as long as to decode a stream."""

NAMES = tuple(SHAPES)
ODD = b"\0\0\0\1\2\x0e\x0f\x4d\x4e\xff"
"""Bytes that make lengths which are short, or just possible, or just impossible."""


def test_many_streams() -> None:
    default = MILLION if os.environ.get("CI") else MILLION // 10
    wanted, _, seed = os.environ.get("FETHPIPE_STREAMS", str(default)).partition("@")
    count = int(wanted)
    drawn = 0 if seed else count // SHARE
    checked = check_random(count - drawn, int(seed or SystemRandom().getrandbits(48)))
    if drawn:
        checked += check_drawn(drawn)
    assert checked == count


def check_random(count: int, first: int) -> int:
    """Check random streams, in blocks with consecutive seeds, and return how many."""
    random = Random()
    checked = 0
    seed = first
    try:
        while checked < count:
            random.seed(seed)
            for _ in range(min(BLOCK, count - checked)):
                check(*random_stream(random))
                checked += 1
            seed += 1
    except BaseException:
        print(f"to repeat: FETHPIPE_STREAMS={BLOCK}@{seed}")
        raise
    return checked


def check_drawn(count: int) -> int:
    """Check streams that hypothesis draws, and return how many, up to ``count``."""
    checked = 0

    @settings(max_examples=count)
    @given(cut_streams())
    def check_one(drawn: tuple[Framing, list[bytes]]) -> None:
        nonlocal checked
        framing, chunks = drawn
        check(framing.name, chunks)
        checked += 1

    check_one()
    return min(checked, count)


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
