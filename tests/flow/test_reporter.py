"""When a report is due."""

from __future__ import annotations

from fethpipe.flow.reporter import INTERVAL, NEAR_INTERVAL, NEAR_STEP, STEP, Reporter


def test_a_report_is_due_once_there_is_enough_to_tell() -> None:
    reporter = Reporter(0.0)
    assert reporter.due(STEP - 1, 1.0) is None
    due = reporter.due(STEP, 1.0)
    assert due is not None
    assert due <= 1.0


def test_reports_are_not_closer_than_the_interval() -> None:
    reporter = Reporter(0.0)
    reporter.on_report(STEP, 1.0)
    assert reporter.due(2 * STEP - 1, 1.0) is None
    assert reporter.due(2 * STEP, 1.0) == 1.0 + INTERVAL


def test_patience_is_counted_from_when_there_was_enough() -> None:
    reporter = Reporter(0.0)
    for step in range(5):
        assert reporter.due(STEP * (1 + step), 1.0 + step / 100, patience=0.015) == 1.015
    reporter.on_report(5 * STEP, 1.015)
    assert reporter.due(6 * STEP, 2.0, patience=0.015) == 2.015


def test_a_near_peer_is_told_seldom_but_not_only_of_much() -> None:
    """Or it would never notice that the line is slow."""
    reporter = Reporter(0.0)
    reporter.on_peer(near=True)
    reporter.on_report(STEP, 1.0)

    assert reporter.due(2 * STEP, 1.0 + NEAR_INTERVAL / 2) is None
    assert reporter.due(2 * STEP - 1, 1.0 + NEAR_INTERVAL) is None
    assert reporter.due(2 * STEP, 1.0 + NEAR_INTERVAL) == 1.0 + NEAR_INTERVAL
    assert reporter.due(STEP + NEAR_STEP, 1.0 + NEAR_INTERVAL / 2) is not None


def test_a_peer_that_is_no_longer_near_is_told_at_once() -> None:
    reporter = Reporter(0.0)
    reporter.on_peer(near=True)
    reporter.on_report(STEP, 1.0)
    assert reporter.due(2 * STEP, 1.01) is None

    reporter.on_peer(near=False)

    assert reporter.due(2 * STEP, 1.01) == 1.01


def test_what_is_told_in_a_hurry_may_be_little() -> None:
    reporter = Reporter(0.0)
    reporter.on_report(STEP, 1.0)
    reporter.hurry()
    reporter.on_peer(near=True)  # before it could be sent

    assert reporter.due(STEP, 1.01) == 1.01
