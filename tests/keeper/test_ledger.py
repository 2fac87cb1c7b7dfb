"""What keepers write down, who may read it as whose, and what a reaper takes for abandoned."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fethpipe.keeper.ledger import Abandoned, Entry, Ledger, abandoned, open_folder

FETH = Entry("feth", "feth10000", 7)
IO = Entry("feth", "feth20000", 8, "02005e005301")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fethpipe"


@pytest.fixture
def folder(path: Path) -> Iterator[int]:
    descriptor = open_folder(str(path))
    yield descriptor
    os.close(descriptor)


def leave(path: Path, *made: Entry) -> None:
    """Leave the ledger of a keeper that was killed."""
    ledger = Ledger(open_folder(str(path)))
    for interface in made:
        ledger.add(interface)
    ledger.close(keep=True)


def test_the_folder_is_made_for_its_owner_alone(path: Path) -> None:
    os.close(open_folder(str(path)))
    assert path.stat().st_mode & 0o777 == 0o700
    os.close(open_folder(str(path)))  # and one that is there will do


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777, None])
def test_a_folder_that_others_can_change_is_refused(path: Path, mode: int | None) -> None:
    path.mkdir()
    path.chmod(mode or 0o700)
    if mode is None:
        if os.geteuid() != 0:
            pytest.skip("needs root, to give a folder away")
        os.chown(path, 12345, 12345)
    with pytest.raises(PermissionError, match="can be changed by others than root"):
        open_folder(str(path))


def test_a_link_to_a_folder_or_a_file_is_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    path.symlink_to("elsewhere")
    with pytest.raises(OSError, match=str(path)):
        open_folder(str(path))
    assert not list((tmp_path / "elsewhere").iterdir())
    path.unlink()
    path.write_text("")
    with pytest.raises(NotADirectoryError):
        open_folder(str(path))


def test_the_record_of_a_living_keeper_is_left_alone(path: Path, folder: int) -> None:
    ledger = Ledger(open_folder(str(path)))
    ledger.add(FETH)
    assert list(abandoned(folder)) == []
    ledger.close()
    assert list(path.iterdir()) == []


def test_the_record_of_a_dead_keeper_tells_what_it_made(path: Path, folder: int) -> None:
    leave(path, FETH, IO)
    (ledger,) = abandoned(folder)
    assert ledger.entries == [FETH, IO]
    ledger.remove()
    assert list(path.iterdir()) == []
    ledger.remove()  # somebody else may have been faster


@pytest.mark.parametrize(
    ("text", "made"),
    [
        pytest.param(b"", [], id="an empty file"),
        pytest.param(b'{"kind": "feth", "interfa', [], id="a line that was cut"),
        pytest.param(
            b'{"kind": "feth", "interface": "feth10000", "ifindex": 7}\n{"kind": "fe',
            [FETH],
            id="a second line that was cut",
        ),
        pytest.param(b"\0" * 100, [], id="a file of zeroes after a crash"),
        pytest.param(b"[" * 60000, [], id="deep nesting"),
        pytest.param(b'[1]\n"x"\nnull\n7\n', [], id="other things in JSON"),
        pytest.param(b'{"kind": "feth"}\n', [], id="half of the fields"),
        pytest.param(b"\xff\xfe\n", [], id="no text"),
    ],
)
def test_a_damaged_record_says_only_what_is_whole(
    path: Path, folder: int, text: bytes, made: list[Entry]
) -> None:
    (path / "damaged.json").write_bytes(text)
    (ledger,) = abandoned(folder)
    assert ledger.entries == made


def test_what_is_no_record_is_left_alone(path: Path, folder: int, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_bytes(b'{"kind": "feth", "interface": "feth10000", "ifindex": 7}\n')
    (path / "link.json").symlink_to(elsewhere)
    (path / "folder.json").mkdir()
    os.mkfifo(path / "fifo.json")
    assert list(abandoned(folder)) == []
    assert elsewhere.exists()


def test_each_record_is_for_one_of_many_reapers(path: Path) -> None:
    for number in range(50):
        leave(path, Entry("feth", f"feth{number}", number + 1))

    def reap() -> list[Entry]:
        ours = os.open(path, os.O_RDONLY)
        taken = []
        for ledger in abandoned(ours):
            taken += ledger.entries
            ledger.remove()
        os.close(ours)
        return taken

    with ThreadPoolExecutor(8) as threads:
        taken = [
            made for each in [threads.submit(reap) for _ in range(8)] for made in each.result()
        ]
    assert sorted(made.ifindex for made in taken) == list(range(1, 51))
    assert list(path.iterdir()) == []


def test_reapers_never_take_the_record_of_a_keeper_that_starts(path: Path) -> None:
    stop = time.monotonic() + 0.3

    def reap() -> list[Abandoned]:
        ours = os.open(path, os.O_RDONLY)
        wrong = []
        while time.monotonic() < stop:
            for ledger in abandoned(ours):
                wrong += [ledger] if ledger.entries else []
                ledger.remove()  # an empty one, not yet locked: its keeper makes another
        os.close(ours)
        return wrong

    os.close(open_folder(str(path)))
    with ThreadPoolExecutor(2) as threads:
        reapers = [threads.submit(reap) for _ in range(2)]
        while time.monotonic() < stop:
            ledger = Ledger(open_folder(str(path)))
            ledger.add(FETH)
            assert len(list(path.glob("*.json"))) == 1
            ledger.close()
        assert [reaper.result() for reaper in reapers] == [[], []]


def test_the_kernel_lets_go_of_the_record_of_a_keeper_that_is_killed(
    path: Path, folder: int
) -> None:
    ready, its_ready = os.pipe()
    child = os.fork()
    if child == 0:
        Ledger(open_folder(str(path))).add(FETH)
        os.write(its_ready, b"!")
        signal.pause()
    os.read(ready, 1)
    assert list(abandoned(folder)) == []
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for _ in range(2):  # what is not removed is there the next time
        assert [ledger.entries for ledger in abandoned(folder)] == [[FETH]]
    os.close(ready)
    os.close(its_ready)


def test_a_folder_that_takes_no_file_is_let_go(path: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    folder = open_folder(str(path))
    path.rmdir()
    with pytest.raises(FileNotFoundError):
        Ledger(folder)
    assert len(os.listdir("/dev/fd")) == before
