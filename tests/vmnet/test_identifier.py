"""The identifier of a vmnet interface: the same each time, and for one interface at a time."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from fethpipe.provision.request import VmnetOptions
from fethpipe.vmnet import identifier
from fethpipe.vmnet.identifier import claim_identifier, make_identifier

HOST, OPTIONS = b"this Mac", VmnetOptions()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(identifier, "_folder", lambda: str(tmp_path))
    return tmp_path


def claim() -> identifier.Identifier:
    claimed = claim_identifier(HOST, OPTIONS)
    assert claimed
    return claimed


def test_it_is_the_same_at_each_start(folder: Path) -> None:
    values = set()
    for _ in range(3):
        claimed = claim()
        values.add(claimed.value)
        claimed.close()
        claimed.close()
    assert values == {make_identifier(HOST, OPTIONS, 0)}
    assert list(folder.iterdir()) == []


def test_two_at_a_time_have_two(folder: Path) -> None:
    first, second = claim(), claim()
    assert first.value != second.value
    first.close()
    third = claim()
    assert third.value == first.value
    for each in (second, third):
        each.close()


def test_it_is_taken_no_longer_than_its_owner_lives(folder: Path) -> None:
    child = os.fork()
    if child == 0:
        claim()
        os._exit(0)  # as SIGKILL would: the file stays
    os.waitpid(child, 0)
    assert len(list(folder.iterdir())) == 1
    claimed = claim()
    assert claimed.value == make_identifier(HOST, OPTIONS, 0)
    claimed.close()


def test_other_macs_and_other_options_have_others() -> None:
    values = {
        make_identifier(host, options, number)
        for host in (HOST, b"another")
        for options in (OPTIONS, VmnetOptions("host"), VmnetOptions(isolated=True))
        for number in (0, 1)
    }
    assert len(values) == 12
    assert {uuid.UUID(bytes=value).version for value in values} == {4}


def test_where_nothing_can_be_locked_vmnet_chooses(folder: Path) -> None:
    folder.rmdir()
    assert claim_identifier(HOST, OPTIONS) is None


def test_a_link_is_not_followed(folder: Path) -> None:
    name = f"fethpipe-vmnet-{make_identifier(HOST, OPTIONS, 0).hex()}"
    (folder / name).symlink_to(folder / "elsewhere")
    assert claim_identifier(HOST, OPTIONS) is None
    assert not (folder / "elsewhere").exists()
