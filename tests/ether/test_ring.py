"""When a ring of networks is noticed, what passes meanwhile, and when it is gone."""

from __future__ import annotations

from fethpipe.ether.ring import LIMIT, QUIET_SECONDS, SUSPICIOUS, RingWatch

MAC = bytes.fromhex("02005e005301")
HEADER = bytes(10)


def frame(number: int, *, unicast: bool = False) -> bytes:
    to = bytes.fromhex("02005e005302") if unicast else b"\xff" * 6
    return to + MAC + bytes.fromhex("88b5") + number.to_bytes(4, "big") + bytes(60)


class Network:
    """A watch that counts what passes, as a device does."""

    def __init__(self) -> None:
        self.watch = RingWatch(b"n" * 16, MAC)
        self.now = 1000.0
        self.received = self.sent = 0
        self.tick()

    def tick(self, seconds: float = 0.5) -> bool:
        self.now += seconds
        return self.watch.tick(self.now, self.received, self.sent)

    def busy(self) -> None:
        """Let many frames pass, so that the watch looks closer."""
        self.received += SUSPICIOUS
        self.sent += SUSPICIOUS
        assert not self.tick()

    def form_ring(self) -> None:
        self.busy()
        frames = [frame(number) for number in range(10)]
        self.watch.to_device(frames, 0)
        assert self.watch.from_device(frames, 0) == frames
        assert self.tick()
        assert self.watch.ring


def test_few_frames_are_no_reason_to_look() -> None:
    network = Network()
    network.received += 1_000_000  # one way
    network.tick()
    assert not network.watch.looking
    network.busy()
    assert network.watch.looking


def test_mostly_unicast_is_no_reason_to_look_for_long() -> None:
    network = Network()
    network.busy()
    for _ in range(16):
        assert network.watch.looking
        network.watch.from_device([frame(1), frame(2, unicast=True), frame(3, unicast=True)], 0)
    assert not network.watch.looking


def test_frames_that_come_back_the_other_way_are_one_too() -> None:
    network = Network()
    network.busy()
    frames = [frame(number) for number in range(10)]
    network.watch.from_device(frames, 0)
    assert network.watch.to_device(frames, 0) == frames
    assert network.tick()
    assert network.watch.from_device(frames, 0) == frames
    assert network.watch.to_device([*frames, frame(11)], 0) == [frame(11)]
    assert network.watch.from_device(frames, 0) == []  # they have gone around the other way
    network.tick()
    assert network.watch.from_device(frames, 0) == frames  # the station says it once more


def test_a_station_that_moves_is_none() -> None:
    network = Network()
    network.busy()
    frames = [frame(number) for number in range(9)]
    network.watch.to_device(frames, 0)
    network.watch.from_device(frames, 0)
    assert not network.tick()
    assert not network.watch.ring


def test_the_same_frames_again_and_again_from_one_side_are_none() -> None:
    network = Network()
    network.busy()
    network.watch.to_device([frame(1)] * 1000, 0)
    network.watch.from_device([frame(2)] * 1000, 0)
    assert not network.tick()


def test_what_passes_in_a_ring() -> None:
    network = Network()
    network.form_ring()
    ours = [HEADER + frame(number, unicast=True) for number in range(3)]
    assert network.watch.to_device(ours, len(HEADER)) == ours
    others = [HEADER + frame(number, unicast=True) for number in range(100, 103)]
    assert network.watch.from_device(ours + others, len(HEADER)) == others
    broadcast = [frame(number) for number in range(200, 400)]
    assert network.watch.from_device(broadcast, 0) == broadcast[: LIMIT // 2]  # of half a second
    network.tick()
    assert network.watch.from_device(broadcast, 0) == broadcast[: LIMIT // 2]


def test_a_probe_shows_a_silent_ring_and_goes_no_further() -> None:
    network = Network()
    network.form_ring()
    for _ in range(20):
        assert network.watch.to_device([network.watch.probe, frame(7)], 0) == [frame(7)]
        assert not network.tick()
    assert network.watch.ring


def test_it_is_gone_when_nothing_comes_back() -> None:
    network = Network()
    network.form_ring()
    assert not network.tick(QUIET_SECONDS - 0.1)
    assert network.tick(0.2)
    assert not network.watch.ring
    assert not network.watch.looking
    assert not network.tick()


def test_the_memory_of_it_is_bounded() -> None:
    network = Network()
    network.busy()
    frames = [frame(number) for number in range(20_000)]
    network.watch.to_device(frames, 0)
    network.watch.from_device(frames[:9000], 0)  # forgotten
    assert not network.tick()
    network.busy()
    network.watch.to_device(frames, 0)
    network.watch.from_device(frames[-10:], 0)
    assert network.tick()
