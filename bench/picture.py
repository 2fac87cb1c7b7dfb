"""The ratios of one run as an SVG picture: a panel for each measure, a bar for each contender.

Bars are drawn on one logarithmic scale, so that twice as good and half as good are equally long,
and turned so that to the right is always better, also where less is better. A thin line spans the
rounds. What is beyond the scale ends at its edge, and the number beside it tells.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from bench.contenders import CONTENDERS
from bench.measures import MEASURES
from bench.report import number
from bench.results import Results, Spread

_COLUMNS = 2
_PANEL_WIDTH, _GAP, _MARGIN = 500, 28, 24
_HEAD, _TOP, _ROW, _AXIS = 66, 28, 21, 26  # heights: of the heading; of a panel's title, row, scale
_PLOT_LEFT, _PLOT_RIGHT = 148, 376  # in a panel; names stand to the left, values to the right
_POWERS = 5  # of two, each way: beyond, the bars that matter would get too short
OURS, THEIRS, INK, FAINT = "#0b7285", "#adb5bd", "#212529", "#dee2e6"
STYLE = (
    "text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#212529}"
    ".title{font-weight:600;font-size:13px}.heading{font-weight:600;font-size:18px}"
    ".faint{fill:#6c757d}.small{font-size:10.5px}.ours{font-weight:600}.end{text-anchor:end}"
    ".middle{text-anchor:middle}"
)


class _Bar:
    """One contender's row: how many times as good as the reference, and the reading itself."""

    def __init__(self, contender: str, advantage: Spread, reading: str) -> None:
        self.contender = contender
        self.advantage = advantage
        self.reading = reading


def as_svg(results: Results) -> str:
    panels = [(name, bars) for name in results.measures if (bars := list(_bars(results, name)))]
    scale = _Scale([bar.advantage for _, bars in panels for bar in bars])
    body: list[str] = []
    bottom = float(_HEAD)
    for first in range(0, len(panels), _COLUMNS):
        row = panels[first : first + _COLUMNS]
        for column, (name, bars) in enumerate(row):
            left = _MARGIN + column * (_PANEL_WIDTH + _GAP)
            body += _panel(name, bars, scale, left, bottom)
        bottom += _TOP + _ROW * max(len(bars) for _, bars in row) + _AXIS + _GAP
    width = 2 * _MARGIN + _COLUMNS * _PANEL_WIDTH + (_COLUMNS - 1) * _GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom:g}" role="img">',
            f"<style>{STYLE}</style>",
            f'<rect width="{width}" height="{bottom:g}" fill="#fff"/>',
            text(_MARGIN, 30, f"Times as good as {results.reference}", "heading"),
            text(
                _MARGIN,
                50,
                f"rounds: {len(results.rounds)}; bars: median, thin lines: worst to best;"
                " further right is better in every panel; logarithmic scale",
                "faint",
            ),
            *body,
            "</svg>\n",
        ]
    )


def _bars(results: Results, name: str) -> Iterator[_Bar]:
    measure = MEASURES[name]
    for contender in results.contenders:
        spread = results.spread(contender, name)
        ratios = [ratio for ratio in results.ratios(contender, name, results.reference) if ratio]
        if measure.better == "less":
            ratios = [1 / ratio for ratio in ratios]
        advantage = Spread.of(ratios)
        if spread is not None and advantage is not None:
            yield _Bar(contender, advantage, f"{number(spread.median)} {measure.unit}")


class _Scale:
    """Where a ratio stands in a panel: the same in all, from one power of two to another."""

    def __init__(self, spreads: Sequence[Spread]) -> None:
        low = min([-1, *(math.floor(math.log2(spread.low)) for spread in spreads)])
        high = max([1, *(math.ceil(math.log2(spread.high)) for spread in spreads)])
        self._low, self._high = max(low, -_POWERS), min(high, _POWERS)

    def x(self, ratio: float) -> float:
        power = min(max(math.log2(ratio), self._low), self._high)
        part = (power - self._low) / (self._high - self._low)
        return _PLOT_LEFT + part * (_PLOT_RIGHT - _PLOT_LEFT)

    def ticks(self) -> Iterator[tuple[float, str]]:
        step = math.ceil((self._high - self._low) / 6)  # more labels would touch
        for power in range(self._low, self._high + 1):
            if power % step == 0:
                yield 2.0**power, f"{2**power}" if power >= 0 else f"1/{2**-power}"


def _panel(
    name: str, bars: Sequence[_Bar], scale: _Scale, left: float, top: float
) -> Iterator[str]:
    measure = MEASURES[name]
    foot = _TOP + _ROW * len(bars)
    yield f'<g transform="translate({left:g} {top:g})">'
    yield text(0, 12, measure.title, "title")
    for ratio, label in scale.ticks():
        color = INK if ratio == 1 else FAINT
        yield line(scale.x(ratio), _TOP - 6, scale.x(ratio), foot, color)
        yield text(scale.x(ratio), foot + 14, label, "faint small middle")
    for index, bar in enumerate(bars):
        yield from _bar(bar, scale, _TOP + _ROW * index)
    yield "</g>"


def _bar(bar: _Bar, scale: _Scale, top: float) -> Iterator[str]:
    ours = CONTENDERS[bar.contender].ours
    weight = "ours " if ours else ""
    middle, one = top + _ROW / 2, scale.x(1)
    end = scale.x(bar.advantage.median)
    yield text(_PLOT_LEFT - 10, middle + 4, bar.contender, f"{weight}end")
    yield (
        f'<rect x="{min(one, end):.1f}" y="{top + 4:g}" width="{abs(end - one):.1f}" '
        f'height="{_ROW - 8}" fill="{OURS if ours else THEIRS}"/>'
    )
    if bar.advantage.low < bar.advantage.high:
        yield line(scale.x(bar.advantage.low), middle, scale.x(bar.advantage.high), middle, INK)
    yield text(_PLOT_RIGHT + 48, middle + 4, f"{number(bar.advantage.median)}x", f"{weight}end")
    yield text(_PANEL_WIDTH + 6, middle + 4, bar.reading, "faint small end")


def text(x: float, y: float, words: str, style: str) -> str:
    """Return words at a place, in a style of ``STYLE``."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, color: str) -> str:
    """Return a straight line."""
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{color}"/>'
