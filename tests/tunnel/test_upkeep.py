"""Addresses that a device loses: when they are asked for again, and what is told."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest

from fethpipe.errors import DeviceError
from fethpipe.tunnel.upkeep import AddressGuard

A, B = ip_interface("10.9.0.1/24"), ip_interface("fd00:9::1/64")


def _told(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return messages


def test_they_are_added_again_once(caplog: pytest.LogCaptureFixture) -> None:
    lost = [A, B]
    asked: list[bool] = []
    guard = AddressGuard("feth1", lambda: tuple(lost), lambda: asked.append(True) or lost.clear())  # type: ignore[func-returns-value]
    guard.check()
    assert asked == [True]
    (said,) = _told(caplog)
    assert said.startswith(f"feth1 had lost {A}, {B}: added it again")
    lost.append(A)
    for _ in range(3):
        guard.check()
    assert asked == [True]
    assert _told(caplog) == [f"feth1 has lost {A}; add it again with ifconfig, or start again"], (
        "told once, not at every look"
    )


def test_without_a_keeper_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    guard = AddressGuard("feth1", lambda: (A,), None)
    for _ in range(3):
        guard.check()
    assert len(_told(caplog)) == 1


def test_a_refusal_is_told_and_is_not_the_end(caplog: pytest.LogCaptureFixture) -> None:
    def refuse() -> None:
        raise DeviceError("cannot add it")

    guard = AddressGuard("feth1", lambda: (A,), refuse)
    for _ in range(3):
        guard.check()
    assert _told(caplog) == [f"feth1 has lost {A}: cannot add it"]
