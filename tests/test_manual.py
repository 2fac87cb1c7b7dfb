"""The manual pages: made from the texts of the programs, as they are now, and readable."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.live.netns import require_tools
from tools.make_manual import FOLDER, make_pages
from tools.programs import read_programs

PAGES = make_pages()


def test_what_is_committed_is_what_the_programs_say() -> None:
    """Or somebody changed an option: run tools/make_manual.py."""
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == PAGES


def test_each_program_has_a_page() -> None:
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    scripts = project.partition("[project.scripts]\n")[2].partition("\n\n")[0]
    names = {line.partition(" ")[0] for line in scripts.splitlines()}
    assert {name.rpartition(".")[0] for name in PAGES} == names
    assert '"share/man/man1" = ["docs/man/*.1"]' in project


@pytest.mark.parametrize("name", PAGES)
def test_man_shows_it_without_a_complaint(name: str) -> None:
    require_tools("man", "groff")
    argv = ["man", "--warnings=all", "-l", str(FOLDER / name)]
    environment = {"MANWIDTH": "200", "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    shown = subprocess.run(argv, env=environment, capture_output=True, check=True, text=True)
    assert shown.stderr == ""
    for program in read_programs():
        if f"{program.name}.1" == name:
            for command in (program, *program.verbs):
                for option in command.options:
                    assert option.names[-1] in shown.stdout or option.names[0] == "-h"
    assert "SEE ALSO" in shown.stdout
