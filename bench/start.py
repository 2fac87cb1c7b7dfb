#!/usr/bin/env python3
"""Measure how long a tunnel over ssh takes to start on a slow line, and what is sent for it.

    python3 bench/start.py --lines 2/40,10/40 --rounds 7

Beside fethpipe it times `ssh -w`, which has nothing to start at the far end, and `ssh HOST true`,
which makes no tunnel. A start is over when both ends have their addresses and their links are up.
The lines are those of `wan.py`; everything runs in namespaces of its own and ends with it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import contenders
from bench.contenders import Link
from bench.wan import LineLink, LineSpec
from bench.world import mount_inside, run_inside

_SECONDS = 30.0


def _log_in(link: Link) -> None:
    login = link.ssh()
    begin = time.monotonic()
    link.near.run([*login, "true"], timeout=_SECONDS)
    link.startup = time.monotonic() - begin


_STARTS: dict[str, Callable[[Link], None]] = {
    "fethpipe": contenders.open_by_ssh,
    "ssh -w": contenders.open_openssh,
    "ssh true": _log_in,
}


def _sent(link: LineLink) -> int:
    """Return the bytes that the near end has sent, with all headers."""
    said = link.near.run(["ip", "-json", "-stats", "link", "show", "under0"], timeout=_SECONDS)
    sent: int = json.loads(said)[0]["stats64"]["tx"]["bytes"]
    return sent


def _measure(scratch: Path, line: LineSpec, name: str) -> tuple[float, int]:
    with contextlib.closing(LineLink(scratch, line, "cubic")) as link:
        _STARTS[name](link)
        return link.startup, _sent(link)


def _lines(text: str) -> list[LineSpec]:
    return [LineSpec(*map(float, word.split("/"))) for word in text.split(",")]


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Measure starts over ssh on an emulated line.")
    parser.add_argument("--lines", type=_lines, metavar="MBIT/MS,...", default=_lines("2/40,10/40"))
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="default 7")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.inside:
        return _inside(options)
    if os.geteuid() != 0:
        sys.exit("start.py: only root can make network namespaces: run it with sudo")
    return run_inside(__file__, argv)


def _inside(options: argparse.Namespace) -> int:
    mount_inside()
    source = str(Path(__file__).with_name("line.c"))
    subprocess.run(["cc", "-O2", "-o", str(options.inside / "line"), source], check=True)
    for line in options.lines:
        results: dict[str, list[tuple[float, int]]] = {name: [] for name in _STARTS}
        for round_ in range(options.rounds):
            for number, (name, result) in enumerate(results.items()):
                scratch = options.inside / f"{line.rate:g}-{line.delay:g}-{round_}-{number}"
                result.append(_measure(scratch, line, name))
        for name, result in results.items():
            seconds, sent = zip(*result)
            print(
                f"{line!s:20} {name:10} {statistics.median(seconds):6.3f} s"
                f"  ({min(seconds):.3f} .. {max(seconds):.3f})"
                f"  {statistics.median(sent):7.0f} bytes sent",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
