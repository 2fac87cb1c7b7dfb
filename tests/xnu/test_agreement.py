"""The simulation answers as Apple's code does: whatever the product asks, or could wrongly ask."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings

from tests.darwin.rig import IO
from tests.xnu.conftest import Stages
from tests.xnu.play import Step
from tests.xnu.releases import Release
from tests.xnu.scenario import LONGEST, SCENARIO
from tests.xnu.sequences import START, sequences
from tests.xnu.stage import PanicError

SAMPLE, ALL = 40, 2_500


def differences(stages: Stages, steps: Sequence[Step]) -> list[str]:
    answers = zip(steps, stages.apple.play(steps), stages.simulation.play(steps))
    return [
        f"{step} answers {apples!r:.200}, in the simulation {simulated!r:.200}"
        for step, apples, simulated in answers
        if apples != simulated
    ]


@pytest.mark.parametrize("name", SCENARIO)
def test_each_step_of_the_scenario(stages: Stages, name: str) -> None:
    assert differences(stages, [("reset",), *SCENARIO[name], ("reset",)]) == []


@pytest.mark.parametrize("count", [SAMPLE, pytest.param(ALL, marks=pytest.mark.exhaustive)])
def test_sequences(stages: Stages, release: Release, count: int) -> None:
    @settings(max_examples=count, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(sequences(release))
    def play(steps: list[Step]) -> None:
        assert differences(stages, [START, *steps]) == []

    play()
    assert differences(stages, [("reset",)]) == []


# ---- what no program may do: the simulation has a name for it, which tests look for ----


def violations(stages: Stages, steps: Sequence[Step]) -> list[str]:
    stages.darwin.violations(forget=True)
    stages.simulation.play([START, *steps, ("reset",)])
    return stages.darwin.violations(forget=True)


@pytest.mark.parametrize("size", [0, 1, 13])
def test_a_frame_that_is_shorter_than_its_header_panics_a_mac(stages: Stages, size: int) -> None:
    steps = [("write", "ndrv", size)]
    with pytest.raises(PanicError, match="PANIC: Failed mbuf validity check"):
        stages.apple.play([START, *steps])
    assert violations(stages, steps) == [f"{IO}: a frame of {size} bytes was written"]


@pytest.mark.parametrize("size", [LONGEST + 1, LONGEST + 4])
def test_a_frame_that_is_too_long_stops_a_feth_for_good(
    stages: Stages, release: Release, size: int
) -> None:
    steps = [("writer", "wide", IO, 17000), ("write", "wide", size)]
    after = [("write", "ndrv", 60), ("write", "ndrv", 61), ("down", IO), ("up", IO)]
    arrive = stages.apple.play([("reset",), START, *steps, *after, ("write", "ndrv", 62)])
    assert arrive[-1] == 62  # the writes go on to succeed
    come = stages.apple.play([("read", "r"), ("reset",)])[0]
    if release.number > 10063:
        assert [each[3] for each in come] == [size, 60, 61, 62]
    else:
        assert come == "EAGAIN"
    assert violations(stages, steps) == [f"{IO}: a frame of {size} bytes was written"]
