#!/usr/bin/env python3
"""Write the manual pages in docs/man, from the texts that ``--help`` shows: make_manual.py."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fethpipe import __version__  # noqa: E402
from fethpipe import zerotier_agent as agent  # noqa: E402
from tools.programs import Command, Option, read_programs  # noqa: E402

FOLDER = ROOT / "docs/man"
_AGENT = "fethpipe-zerotier-agent"


def make_pages() -> dict[str, str]:
    """Return the pages by file name."""
    programs = read_programs()
    names = [*(program.name for program in programs), _AGENT]
    pages = {f"{program.name}.1": _page(program, names) for program in programs}
    pages[f"{_AGENT}.1"] = _agent_page(names)
    return pages


def _page(program: Command, names: list[str]) -> str:
    lines = [
        *_head(program.name, program.help),
        ".SH SYNOPSIS",
        *_synopsis(program),
        ".SH DESCRIPTION",
        _escape(program.description),
        *_options(program, ".SH"),
    ]
    for verb in program.verbs:
        lines += [f".SH {verb.name.upper()}", *_synopsis(verb, program.name)]
        lines += [".PP", _escape(verb.description), *_options(verb, ".PP")]
    title, _, statuses = program.epilog.partition(": ")
    if statuses:
        lines += [f".SH {title.upper()}", *_statuses(statuses)]
    return _finish(lines, program.name, names)


def _head(name: str, about: str) -> list[str]:
    return [
        '.\\" Made by tools/make_manual.py from the texts of the program.',
        f'.TH {name.upper().replace("-", chr(92) + "-")} 1 "" "fethpipe {__version__}"',
        ".SH NAME",
        f"{_escape(name)} \\- {_escape(about)}",
    ]


def _synopsis(command: Command, program: str = "") -> Iterator[str]:
    usage = command.usage
    if program and not usage.startswith(program):
        usage = f"{program} {usage}"
    bold = f"{program} {command.name}" if program else command.name
    yield f".B {_escape(bold)}"
    yield _escape(usage[len(bold) :].strip())


def _options(command: Command, heading: str) -> Iterator[str]:
    for group in command.groups:
        shown = [option for option in group.options if option.names[:1] != ("-h",)]
        if shown and heading == ".SH":
            yield f".SH {(group.title or 'options').upper()}"
        for option in shown:
            yield ".TP"
            yield _term(option)
            yield _escape(option.help)


def _term(option: Option) -> str:
    names = ", ".join(f"\\fB{_escape(name)}\\fR" for name in option.names)
    value = f"\\fI{_escape(option.metavar)}\\fR" if option.metavar else ""
    return " ".join(filter(None, (names, value)))


def _statuses(text: str) -> Iterator[str]:
    for status in text.split(", "):
        number, _, meaning = status.partition(" ")
        if number.isdigit():
            yield from (".TP", f".B {number}")
            yield _escape(meaning)
        else:  # the meaning before has a comma in it
            yield _escape(status)


def _agent_page(names: list[str]) -> str:
    about, _, rest = (agent.__doc__ or "").partition("\n\n")
    summary = about[0].lower() + about[1:].replace("\n", " ").rstrip(".")
    lines = [
        *_head(_AGENT, summary),
        ".SH SYNOPSIS",
        f".B {_escape(_AGENT)}",
        "NUMBER MAC MTU METRIC",
        ".SH DESCRIPTION",
    ]
    for paragraph in rest.split("\n\n"):
        lines += [_escape(" ".join(paragraph.replace("``", "").split())), ".PP"]
    return _finish(lines[:-1], _AGENT, names)


def _finish(lines: list[str], name: str, names: list[str]) -> str:
    others = [f".BR {_escape(each)} (1)" for each in names if each != name]
    return "\n".join([*lines, ".SH SEE ALSO", " ,\n".join(others)]) + "\n"


def _escape(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in (".", "'") else text


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in make_pages().items():
        (FOLDER / name).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
