"""README.md says what the program does, no more and no less, and its recipes work as written."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from fethpipe.cli import make_parser
from fethpipe.errors import FethpipeError
from tests.documents import ROOT, Document
from tests.live.shell import Shell

DOCUMENT = Document("README.md")
README, recipe = DOCUMENT.text, DOCUMENT.recipe


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


@pytest.fixture
def help_text(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "200")  # no line is broken
    return make_parser().format_help()


def test_its_table_has_the_options_of_help(help_text: str) -> None:
    table = README.partition("## Options\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    told = [option for row in rows for option in options_in(row)]
    assert sorted(told) == sorted(options_in(help_text))  # each of them once


def test_it_speaks_of_no_other_options(help_text: str) -> None:
    of_others = {"--check", "--install"}  # ruff, xcode-select
    assert options_in(README) - of_others <= options_in(help_text)


def test_its_exit_statuses_are_those_of_the_errors_and_of_help(help_text: str) -> None:
    table = README.partition("## Exit status\n")[2].partition("\n## ")[0]
    statuses = [int(number) for number in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)]
    assert statuses == sorted({0, *_statuses(FethpipeError)})
    told = help_text.partition("exit status:")[2]
    assert [int(number) for number in re.findall(r"\b\d+\b", told)] == statuses


def _statuses(kind: type[FethpipeError]) -> Iterator[int]:
    yield kind.status
    for narrower in kind.__subclasses__():
        yield from _statuses(narrower)


def test_ci_on_macos_runs_what_the_owner_of_a_mac_runs() -> None:
    assert "- run: .ci/mac\n" in (ROOT / ".github/workflows/ci.yml").read_text()
    assert "$(recipe README.md tests)" in (ROOT / ".ci/mac.d/90-pytest.sh").read_text()


@pytest.mark.live
@pytest.mark.parametrize("name", ["namespaces", "named pipes"])
def test_the_recipe_of_two_namespaces_works(shell: Shell, name: str) -> None:
    if name == "named pipes":
        shell.run("ip netns add left; ip netns add right")
    shell.run(recipe(name))
    shell.wait_for_lines("fp0 is up", count=2)
    shell.run(recipe("namespaces, traffic"))
    shell.run(recipe("namespaces, end") if name == "namespaces" else "kill %2; wait")
    said = shell.finish()
    assert "fp0: stopped by SIGTERM" in said
    assert "3 packets transmitted, 3 received, 0% packet loss" in said
    assert "fp0: the peer closed the stream" in said
