"""docs/MESSAGES.md has every message that a user can meet, and none that nobody says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.messages import PACKAGE, find_messages

DOCUMENT = (Path(__file__).parents[1] / "docs/MESSAGES.md").read_text()
ROWS = re.findall(r"^\| `([^`]+)` \| (.+) \| (.+) \|$", DOCUMENT, re.MULTILINE)
TOLD = [row[0] for row in ROWS]


def test_every_row_has_a_message_a_cause_and_a_remedy() -> None:
    lines = [line for line in DOCUMENT.splitlines() if line.startswith("|")]
    heads = DOCUMENT.count("| message | cause | remedy |")
    assert len(ROWS) == len(lines) - 2 * heads
    assert len(set(TOLD)) == len(TOLD)


def test_every_message_is_told() -> None:
    untold = {
        f"{message.place}: {message}"
        for message in find_messages()
        if not any(message.is_told_by(told) for told in TOLD)
    }
    assert untold == set()


def test_nothing_is_told_that_nobody_says() -> None:
    messages = find_messages()
    stale = [told for told in TOLD if not any(each.is_told_by(told) for each in messages)]
    assert stale == []


# ---- the reader of the source ----


@pytest.mark.parametrize(
    ("source", "messages"),
    [
        ("raise UsageError('plain')", ["plain"]),
        ("raise UsageError(f'with {x} inside', hint='y')", ["with … inside"]),
        ("return DeviceError('made ' 'of two')", ["made of two"]),
        ("raise UsageError('one' if x else 'other')", ["one", "other"]),
        ("what = f'tried {x}'\n    raise DeviceError(f'{what}: failed')", ["tried …: failed"]),
        ("log.warning('%s and %d', x, y)", ["… and …"]),
        ("log.info('not this')", []),
        ("raise KeyError('nor this')", []),
        ("raise OwnError('of a class of its own')", ["of a class of its own"]),
        ("with step(f'open {x}'): pass", ["cannot open …: …"]),
        ("raise DeviceError(f'cannot {what}: {why}')", []),
    ],
)
def test_messages_are_found(tmp_path: Path, source: str, messages: list[str]) -> None:
    (tmp_path / "errors.py").write_text(
        "class UsageError(FethpipeError): pass\n"
        "class DeviceError(FethpipeError): pass\n"
        "class OwnError(DeviceError): pass\n"
    )
    (tmp_path / "module.py").write_text(f"def function():\n    {source}\n")
    assert [str(message) for message in find_messages(tmp_path)] == messages


def test_the_package_is_not_empty() -> None:
    assert len(find_messages(PACKAGE)) > 100
