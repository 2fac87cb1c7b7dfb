"""The results as text for people and as JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import re
from pathlib import Path

from bench.contenders import CONTENDERS
from bench.measures import MEASURES
from bench.results import TARGETS, Results, Spread


def number(value: float) -> str:
    """Three digits that count, and never an exponent."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def as_text(results: Results) -> str:
    parts = [_machine_line(), *(_table(results, name) for name in results.measures)]
    parts.append(_targets(results))
    if results.notes:
        parts.append("Notes\n" + "\n".join(f"  {note}" for note in results.notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(results: Results, name: str) -> str:
    measure = MEASURES[name]
    rows = []
    for contender in results.contenders:
        spread = results.spread(contender, name)
        if spread is None:
            continue
        ratio = results.ratio(contender, name)
        rows.append(
            f"  {contender:<18} {number(spread.median):>8}  {_range(spread):<20}"
            + (f" {number(ratio.median):>7}x  {_range(ratio)}" if ratio else "")
        )
    if not rows:
        return ""
    heading = f"{measure.title}, {measure.unit} ({measure.better} is better)"
    columns = f"  {'':<18} {'median':>8}  {'(min .. max)':<20} {'ratio to ' + results.reference}"
    return "\n".join([heading, columns, *(row.rstrip() for row in rows)])


def _range(spread: Spread) -> str:
    if spread.low == spread.high:
        return ""
    return f"({number(spread.low)} .. {number(spread.high)})"


def _targets(results: Results) -> str:
    lines = []
    for target in TARGETS:
        ratio = results.ratio(target.contender, target.measure, target.reference)
        if ratio is not None:
            verdict = "pass" if target.met_by(ratio.median) else "FAIL"
            lines.append(
                f"  {verdict}  {MEASURES[target.measure].title}: {target.contender} to "
                f"{target.reference}, {target.bound} {target.limit:g}: "
                f"{number(ratio.median)} {_range(ratio)}".rstrip()
            )
    return "\n".join(["Targets", *lines]) if lines else ""


def as_json(results: Results) -> str:
    return json.dumps(
        {
            "machine": _machine(),
            "reference": results.reference,
            "contenders": {name: CONTENDERS[name].about for name in results.contenders},
            "measures": {name: _measure(results, name) for name in results.measures},
            "targets": [
                {
                    **target._asdict(),
                    "ratio": ratio._asdict(),
                    "met": target.met_by(ratio.median),
                }
                for target in TARGETS
                for ratio in [results.ratio(target.contender, target.measure, target.reference)]
                if ratio is not None
            ],
            "rounds": results.rounds,
            "notes": results.notes,
        },
        indent=1,
    )


def _measure(results: Results, name: str) -> dict[str, object]:
    measure = MEASURES[name]
    summary = {}
    for contender in results.contenders:
        spread, ratio = results.spread(contender, name), results.ratio(contender, name)
        if spread is not None:
            summary[contender] = {
                **spread._asdict(),
                "ratio": None if ratio is None else ratio._asdict(),
            }
    return {
        "title": measure.title,
        "unit": measure.unit,
        "better": measure.better,
        "results": summary,
    }


def _machine() -> dict[str, object]:
    models = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "processors": os.cpu_count(),
        "model": models[0] if models else platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _machine_line() -> str:
    machine = _machine()
    return "{processors} x {model}, Linux {kernel}, Python {python}".format(**machine)
