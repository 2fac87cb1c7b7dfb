#!/usr/bin/env python3
"""Write what shells complete our command lines with, from the parsers: make_completion.py."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.programs import Command, Option, Value, read_programs  # noqa: E402

FOLDER = ROOT / "completions"
_MADE = "made by tools/make_completion.py from the parser of the program"


def make_completions() -> dict[str, str]:
    """Return the files by name in the folder; the names are those that the shells look for."""
    files = {}
    for program in read_programs():
        files[f"bash/{program.name}"] = "\n".join(_bash(program)) + "\n"
        files[f"zsh/_{program.name}"] = "\n".join(_zsh(program)) + "\n"
        files[f"fish/{program.name}.fish"] = "\n".join(_fish(program)) + "\n"
    return files


# ---- bash ----

_BASH_VALUES = {
    Value.NONE: "COMPREPLY=()",
    Value.INTERFACE: 'COMPREPLY=($(compgen -W "$(ls /sys/class/net 2>/dev/null || ifconfig -l)"'
    ' -- "$word"))',
    Value.FILE: 'COMPREPLY=($(compgen -f -- "$word"))',
    Value.USER: 'COMPREPLY=($(compgen -u -- "$word"))',
}


def _bash(program: Command) -> Iterator[str]:
    function = f"_{program.name}"
    yield f"# bash completion of {program.name}, {_MADE}"
    yield f"{function}() {{"
    yield "    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}"
    yield '    local verb="" i'
    yield "    for ((i = 1; i < COMP_CWORD; i++)); do"
    yield "        case ${COMP_WORDS[i]} in"
    if program.verbs:
        yield f"        {'|'.join(verb.name for verb in program.verbs)})"
        yield "            verb=${COMP_WORDS[i]}"
        yield "            break"
        yield "            ;;"
    else:  # the rest is a command line of its own
        yield "        --)"
        yield '            COMPREPLY=($(compgen -A command -A file -- "$word"))'
        yield "            return"
        yield "            ;;"
    yield "        esac"
    yield "    done"
    yield '    case "$verb $previous" in'
    for command, verb in _commands(program):
        for option in command.options:
            if option.value:
                patterns = "|".join(f'"{verb} {name}"' for name in option.names)
                yield f"    {patterns})"
                yield f"        {_bash_value(option)}"
                yield "        return"
                yield "        ;;"
    yield "    esac"
    yield '    case "$verb" in'
    for command, verb in _commands(program):
        yield f'    "{verb}")'
        yield f"        {_bash_words(command)}"
        yield "        ;;"
    yield "    esac"
    yield "}"
    yield f"complete -F {function} {program.name}"


def _bash_value(option: Option) -> str:
    if option.value is Value.CHOICES:
        return f'COMPREPLY=($(compgen -W "{" ".join(option.choices)}" -- "$word"))'
    return _BASH_VALUES[option.value or Value.NONE]


def _bash_words(command: Command) -> str:
    """Return what completes a word that is no value: an option, a verb, or a word in its place."""
    words = [name for option in command.options for name in option.names]
    words += [verb.name for verb in command.verbs]
    line = f'COMPREPLY=($(compgen -W "{" ".join(words)}" -- "$word"))'
    others = [place for place in command.places if place.value not in (None, Value.NONE)]
    if not others:
        return line
    rest = "; ".join(_bash_value(place).replace("COMPREPLY=(", "COMPREPLY+=(") for place in others)
    return f"{line}\n        [[ $word == -* ]] || {{ COMPREPLY=(); {rest}; }}"


# ---- zsh ----

_ZSH_VALUES = {
    Value.NONE: " ",
    Value.INTERFACE: "_net_interfaces",
    Value.FILE: "_files",
    Value.USER: "_users",
}


def _zsh(program: Command) -> Iterator[str]:
    yield f"#compdef {program.name}"
    yield f"# {_MADE}"
    if not program.verbs:
        command = "*:: :_normal"  # after --
        yield _zsh_arguments(program, ("'(-)--[COMMAND and its arguments]'", shlex.quote(command)))
        return
    yield "local curcontext=$curcontext state line"
    verbs = " ".join(shlex.quote(_zsh_verb(verb)) for verb in program.verbs)
    more = (f"'1: :(({verbs.replace(chr(39), chr(34))}))'", "'*:: :->verb'")
    yield _zsh_arguments(program, more, flags="-C ")
    yield "[[ $state == verb ]] || return 0"
    yield "case $line[1] in"
    for verb in program.verbs:
        yield f"{verb.name})"
        yield f"    {_zsh_arguments(verb, ())}"
        yield "    ;;"
    yield "esac"


def _zsh_verb(verb: Command) -> str:
    return f"{verb.name}\\:{_zsh_text(verb.help)}"


def _zsh_arguments(command: Command, more: Sequence[str], *, flags: str = "") -> str:
    words = [f"_arguments {flags}-s"]
    for option in command.options:
        for name in option.names:
            several = "*" if option.repeated else f"({' '.join(option.names)})"
            words.append(
                shlex.quote(f"{several}{name}[{_zsh_text(option.help)}]{_zsh_value(option)}")
            )
    for number, place in enumerate(command.places, 1):
        where = "*" if place.repeated else str(number)
        words.append(shlex.quote(f"{where}{_zsh_value(place)}"))
    return " \\\n    ".join([*words, *more])


def _zsh_value(option: Option) -> str:
    if option.value is None:
        return ""
    if option.value is Value.CHOICES:
        return f":value:({' '.join(option.choices)})"
    return f":{_zsh_text(option.metavar)}:{_ZSH_VALUES[option.value]}"


def _zsh_text(text: str) -> str:
    for special in "\\[]():":
        text = text.replace(special, "\\" + special)
    return text.replace("'", "").replace('"', "")


# ---- fish ----

_FISH_VALUES = {
    Value.NONE: "-x",
    Value.INTERFACE: "-x -a '(__fish_print_interfaces)'",
    Value.FILE: "-r -F",
    Value.USER: "-x -a '(__fish_complete_users)'",
}


def _fish(program: Command) -> Iterator[str]:
    yield f"# fish completion of {program.name}, {_MADE}"
    yield f"complete -c {program.name} -f"
    for command, verb in _commands(program):
        when = ""
        if program.verbs:
            test = f"__fish_seen_subcommand_from {verb}" if verb else "__fish_use_subcommand"
            when = f" -n '{test}'"
        for each in command.verbs:
            yield f"complete -c {program.name}{when} -a {each.name} -d {shlex.quote(each.help)}"
        for option in command.options:
            names = " ".join(_fish_name(name) for name in option.names)
            value = f" {_fish_value(option)}" if option.value else ""
            yield (f"complete -c {program.name}{when} {names}{value} -d {shlex.quote(option.help)}")
        for place in command.places:
            if place.value not in (None, Value.NONE):
                yield f"complete -c {program.name}{when} {_fish_value(place)}"


def _fish_name(name: str) -> str:
    return f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"


def _fish_value(option: Option) -> str:
    if option.value is Value.CHOICES:
        return f"-x -a '{' '.join(option.choices)}'"
    return _FISH_VALUES[option.value or Value.NONE]


def _commands(program: Command) -> Iterator[tuple[Command, str]]:
    """Yield the program itself, with no verb, and each of its verbs."""
    yield program, ""
    for verb in program.verbs:
        yield verb, verb.name


def main() -> None:
    """Write the files."""
    for name, text in make_completions().items():
        file = FOLDER / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
