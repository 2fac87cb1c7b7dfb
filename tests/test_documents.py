"""The documents as a set: what they link to exists, and what they tell to type is tried."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_layering import FLOORS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
ARCHITECTURE = (ROOT / "docs/ARCHITECTURE.md").read_text()
TESTS = "\n".join(path.read_text() for path in sorted((ROOT / "tests").rglob("*.py")))
# Programs that only macOS has, or has in this form.
MAC_COMMAND = re.compile(r"^    sudo (?:ifconfig|route|ipconfig|launchctl|sysctl net\.link) ", re.M)


@pytest.fixture(params=DOCUMENTS, ids=lambda path: path.name)
def document(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_its_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
        if not target.startswith("https://"):
            assert (document.parent / target).exists(), target


def test_each_block_of_commands_is_named_and_tried(document: Path) -> None:
    text = document.read_text()
    names = re.findall(r"<!-- recipe: (.+?) -->\n```sh\n", text)
    assert len(names) == text.count("```sh\n")
    for name in names:
        assert f'"{name}"' in TESTS, f"no test runs the recipe {name}"


def test_what_needs_a_mac_says_so(document: Path) -> None:
    text = document.read_text()
    for found in MAC_COMMAND.finditer(text):
        before = text[: found.start()].rpartition("\n## ")[2]
        assert re.search(r"\bMac\b|macOS", before), found[0]


def test_the_files_that_the_page_about_the_architecture_names_exist() -> None:
    named = set(re.findall(r"`((?:fethpipe|tests)/[\w./]*)`", ARCHITECTURE))
    assert len(named) > 40
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_the_page_about_the_architecture_has_every_floor() -> None:
    rows = re.findall(r"^\| (\d+) \| `fethpipe/(\w+)(?:/|\.py)` \|", ARCHITECTURE, re.MULTILINE)
    told = {name: int(floor) for floor, name in rows}
    assert [int(floor) for floor, _ in rows] == sorted(told.values())
    starts = {"fethpipe", "__main__"}  # the package itself, and "python3 -m"
    assert told == {name: floor for name, floor in FLOORS.items() if name not in starts}
