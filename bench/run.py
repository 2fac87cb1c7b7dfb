#!/usr/bin/env python3
"""Compare fethpipe with other layer-2 tunnels on this machine, side by side in one run.

    python3 bench/run.py --quick
    python3 bench/run.py --json results.json --svg results.svg

Every round opens all tunnels, then takes each measure on one tunnel after the other, beginning with
another one each round. Everything runs in a network, PID and mount namespace of its own: when the
benchmark ends, however it ends, the kernel ends its processes and removes its interfaces.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Callable, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.contenders import CONTENDERS, Contender, Link
from bench.measures import MEASURES, compile_datagrams, warm_up
from bench.namespaces import BenchError
from bench.picture import as_svg
from bench.report import as_json, as_text
from bench.results import Results
from bench.world import mount_inside, run_inside

_QUICK = ["vde_plug", "fethpipe"]
_TOOLS = {  # by Debian package; those of single contenders are in their table
    "iperf3": "iperf3",
    "ping": "iputils-ping",
    "ip": "iproute2",
    "cc": "gcc",
    "setpriv": "util-linux",
    "mount": "mount",
}
_T = TypeVar("_T")


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    if options.inside:
        return _inside(options)
    absent = {package for tool, package in _TOOLS.items() if shutil.which(tool) is None}
    if absent:
        sys.exit(f"run.py: install {', '.join(sorted(absent))} first")
    if os.geteuid() != 0:
        sys.exit("run.py: only root can make network namespaces: run it with sudo")
    return run_inside(__file__, argv)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Compare fethpipe with other layer-2 tunnels, side by side.",
        epilog="tunnels: " + ", ".join(CONTENDERS) + "; measures: " + ", ".join(MEASURES),
    )
    add = parser.add_argument
    add("--rounds", type=_positive, metavar="N", help="how often to repeat (default 5)")
    add("--seconds", type=_positive, metavar="N", help="length of a measurement (default 2)")
    add("--only", type=_names(MEASURES), metavar="MEASURE,...", help="take these measures")
    add("--tunnels", type=_names(CONTENDERS), metavar="NAME,...", help="compare these tunnels")
    add("--reference", choices=CONTENDERS, default="vde_plug", help="whom ratios are to")
    add("--quick", action="store_true", help="vde_plug and fethpipe, one short round")
    add("--json", type=Path, metavar="FILE", help="also write everything there")
    add("--svg", type=Path, metavar="FILE", help="also draw the ratios there")
    add("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (1 if options.quick else 2)
    unasked = [each.name for each in CONTENDERS.values() if each.unasked]
    options.tunnels = options.tunnels or (_QUICK if options.quick else unasked)
    options.only = options.only or list(MEASURES)
    return options


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def _names(known: Iterable[str]) -> Callable[[str], list[str]]:
    """A converter of a comma-separated list; the order becomes that of the table."""

    def convert(text: str) -> list[str]:
        wanted = text.split(",")
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"no {', '.join(unknown)} in {', '.join(known)}")
        return [name for name in known if name in wanted]

    return convert


def _inside(options: argparse.Namespace) -> int:
    mount_inside()
    compile_datagrams(options.inside)
    results = Results(options.tunnels, options.only, options.reference)
    contenders = _present([CONTENDERS[name] for name in options.tunnels], results)
    try:
        for index in range(options.rounds):
            _progress(f"round {index + 1} of {options.rounds}")
            results.rounds.append({})
            _take_round(_rotated(contenders, index), options, results, index)
    except KeyboardInterrupt:
        results.notes.append(f"stopped by hand in round {len(results.rounds)}")
    print(as_text(results), end="")
    if options.json:
        options.json.write_text(as_json(results) + "\n")
    if options.svg:
        options.svg.write_text(as_svg(results))
    return 0


def _present(contenders: Sequence[Contender], results: Results) -> list[Contender]:
    """Those that this machine can run; why the others are missing becomes a note."""
    present = []
    for contender in contenders:
        reason = contender.missing()
        if reason is None:
            present.append(contender)
        else:
            results.notes.append(f"{contender.name} left out: {reason}")
    return present


def _take_round(
    contenders: Sequence[Contender], options: argparse.Namespace, results: Results, index: int
) -> None:
    with contextlib.ExitStack() as stack:
        links = {}
        for contender in contenders:
            with _noted(results, f"round {index + 1}: {contender.name} did not start"):
                link = Link(options.inside / f"{index}-{contender.name}")
                stack.callback(link.close)
                contender.open(link)
                warm_up(link)
                links[contender] = link
        for number, name in enumerate(options.only):
            measure = MEASURES[name]
            _progress(f"  {measure.title}")
            for contender, link in _rotated(list(links.items()), number):
                if measure.applies_to(contender):
                    with _noted(results, f"round {index + 1}: {contender.name}: {name} failed"):
                        reading = measure.run(link, options.seconds)
                        results.rounds[-1].setdefault(contender.name, {})[name] = reading


@contextlib.contextmanager
def _noted(results: Results, what: str) -> Iterator[None]:
    """One contender's failure in one measure is a note, and the run goes on."""
    try:
        yield
    except (BenchError, OSError, ValueError, ArithmeticError, LookupError) as err:
        results.notes.append(f"{what}: {err}")


def _rotated(items: Sequence[_T], by: int) -> list[_T]:
    """Each contender comes first in turn, lest the order favour one."""
    by %= max(1, len(items))
    return [*items[by:], *items[:by]]


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
