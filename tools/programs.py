"""The programs as their parsers describe them, for manual pages and completions."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from fethpipe import cli
from fethpipe.ctl import cli as ctl_cli


class Value(Enum):
    """What the word after an option, or in a place, may be, as far as a shell can tell."""

    NONE = "nothing to choose from"
    CHOICES = "one of a few words"
    INTERFACE = "an interface"
    FILE = "a file"
    USER = "a user"


class Option(NamedTuple):
    """An option, or without names a word that has its place. ``value`` is None for a switch, and
    where it may be left out.
    """

    names: tuple[str, ...]
    metavar: str
    help: str
    value: Value | None
    choices: tuple[str, ...] = ()
    repeated: bool = False
    required: bool = False


class Group(NamedTuple):
    """Options under a title, empty for those without one."""

    title: str
    options: tuple[Option, ...]


class Command(NamedTuple):
    """A program, or one of its verbs."""

    name: str
    help: str
    description: str
    epilog: str
    usage: str
    groups: tuple[Group, ...]
    verbs: tuple[Command, ...] = ()

    @property
    def options(self) -> list[Option]:
        """Return all options, without the words that have their place."""
        return [option for group in self.groups for option in group.options if option.names]

    @property
    def places(self) -> list[Option]:
        """Return the words that have their place."""
        return [option for group in self.groups for option in group.options if not option.names]


def read_programs() -> list[Command]:
    """Return the programs that have a parser, ``fethpipe`` first."""
    about = "shuttle Ethernet frames between a virtual Ethernet device and a pipe"
    return [
        _command(cli.make_parser(), "fethpipe", about),
        _command(
            ctl_cli.make_parser(), "fethctl", "manage, inspect and try Ethernet interfaces by hand"
        ),
    ]


_VALUES = {"NAME": Value.INTERFACE, "FILE": Value.FILE, "PATH": Value.FILE}


def _command(parser: argparse.ArgumentParser, name: str, about: str) -> Command:
    groups = tuple(_groups(parser))
    return Command(
        name=name,
        help=about,
        description=" ".join((parser.description or "").split()),
        epilog=" ".join((parser.epilog or "").split()),
        usage=parser.usage or _usage(parser.prog, groups, parser),
        groups=groups,
        verbs=tuple(_verbs(parser)),
    )


def _groups(parser: argparse.ArgumentParser) -> Iterator[Group]:
    for group in parser._action_groups:
        # Python 3.9 and its successors have different titles for these two.
        own = group is not parser._positionals and group is not parser._optionals
        options = tuple(
            _option(parser, action)
            for action in group._group_actions
            if not isinstance(action, argparse._SubParsersAction)
        )
        if options:
            yield Group((group.title or "") if own else "", options)


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> Option:
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    choices = tuple(map(str, action.choices or ()))
    metavar = str(action.metavar or "") or ("{" + ",".join(choices) + "}" if choices else "")
    value: Value | None = None
    if action.nargs == "?" and action.option_strings:  # the next word may be an option as well
        metavar = f"[{metavar}]"
    elif action.nargs != 0:
        value = Value.CHOICES if choices else _VALUES.get(metavar, Value.NONE)
        if action.dest == "user":
            value = Value.USER
    return Option(
        names=tuple(action.option_strings),
        metavar=metavar,
        help=text,
        value=value,
        choices=choices,
        repeated=isinstance(action, argparse._AppendAction) or action.nargs == "+",
        required=action.required,
    )


def _verbs(parser: argparse.ArgumentParser) -> Iterator[Command]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {each.dest: each.help or "" for each in action._choices_actions}
            for verb, its_parser in action.choices.items():
                yield _command(its_parser, verb, helps[verb])


def _usage(name: str, groups: tuple[Group, ...], parser: argparse.ArgumentParser) -> str:
    """Return the usage in one line: argparse's own is broken where each Python thinks fit."""
    words = [name]
    for group in groups:
        for option in group.options:
            if option.names and option.names[0] not in ("-h", "--version"):
                words.append(f"[{' '.join(filter(None, (option.names[-1], option.metavar)))}]")
    for group in groups:
        for option in group.options:
            if not option.names:
                word = option.metavar + ("..." if option.repeated else "")
                words.append(word if option.required else f"[{word}]")
    if any(isinstance(action, argparse._SubParsersAction) for action in parser._actions):
        words.append("VERB ...")
    return " ".join(words)
