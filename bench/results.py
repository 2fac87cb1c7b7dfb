"""What the rounds gave, what it comes to, and whether it is enough. Nothing here runs or prints.

A machine is faster in one minute than in the next, so numbers of different rounds are never divided
by each other: a ratio is that of two readings of one round, and what counts is the median of such
ratios.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Callable, NamedTuple

# By contender, then by measure; what failed or does not apply is absent.
Round = dict[str, dict[str, float]]


class Spread(NamedTuple):
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        return cls(statistics.median(values), min(values), max(values)) if values else None


@dataclass
class Results:
    """All rounds of one run, and what was left out or went wrong, in sentences."""

    contenders: Sequence[str]
    measures: Sequence[str]
    reference: str
    rounds: list[Round] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def readings(self, contender: str, measure: str) -> list[float]:
        return [
            taken[contender][measure]
            for taken in self.rounds
            if measure in taken.get(contender, {})
        ]

    def ratios(self, contender: str, measure: str, reference: str) -> list[float]:
        return [
            taken[contender][measure] / taken[reference][measure]
            for taken in self.rounds
            if measure in taken.get(contender, {}) and taken.get(reference, {}).get(measure)
        ]

    def spread(self, contender: str, measure: str) -> Spread | None:
        return Spread.of(self.readings(contender, measure))

    def ratio(self, contender: str, measure: str, reference: str | None = None) -> Spread | None:
        return Spread.of(self.ratios(contender, measure, reference or self.reference))


class Target(NamedTuple):
    """`contender` must have at least (or at most) `limit` times what `reference` has."""

    measure: str
    contender: str
    reference: str
    bound: str
    limit: float

    def met_by(self, ratio: float) -> bool:
        return _BOUNDS[self.bound](ratio, self.limit)


_BOUNDS: dict[str, Callable[[float, float], bool]] = {
    "at least": lambda ratio, limit: ratio >= limit,
    "at most": lambda ratio, limit: ratio <= limit,
}

TARGETS = (
    Target("tcp1", "fethpipe", "vde_plug", "at least", 3.0),
    Target("tcp1", "fethpipe", "veth", "at least", 0.22),
    Target("tcp1", "fethpipe-ssh", "openssh-w", "at least", 5.0),
    Target("tcp1", "fethpipe-ssh", "ssh-bytes", "at least", 0.7),
    Target("tcp1", "fethpipe-plain", "vde_plug", "at least", 1.0),
    Target("tcp1", "fethpipe+vde_plug", "vde_plug", "at least", 1.0),
    Target("udp64", "fethpipe", "vde_plug", "at least", 1.2),
    Target("ping", "fethpipe", "vde_plug", "at most", 2.0),
    Target("cpu", "fethpipe", "vde_plug", "at most", 0.4),
)
