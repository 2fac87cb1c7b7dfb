"""Ping over time while an upload starts and stops, as an SVG picture: a curve for each tunnel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from bench.picture import FAINT, OURS, STYLE, THEIRS, line, text

_WIDTH, _HEIGHT = 760, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 180, 64, 40
_LEAST_MS = 10.0

Series = Sequence["tuple[float, float]"]


def as_svg(
    heading: str, curves: Sequence[tuple[str, Series]], seconds: float, load: tuple[float, float]
) -> str:
    """Return the picture: milliseconds by seconds, for each name; ``load`` is from when to when."""
    most = 1.2 * max(took for _, series in curves for _, took in series)
    scale = _Scale(seconds, most)
    begin, end = map(scale.x, load)
    bottom = _HEIGHT - _BOTTOM
    body = [
        f'<rect x="{begin:.1f}" y="{_TOP}" width="{end - begin:.1f}" height="{bottom - _TOP}" '
        'fill="#f1f3f5"/>',
        text((begin + end) / 2, _TOP - 6, "upload", "faint small middle"),
        *_axes(scale),
    ]
    colors = [OURS, "#e8590c", THEIRS]
    for index, (name, series) in enumerate(curves):
        points = " ".join(f"{scale.x(at):.1f},{scale.y(took):.1f}" for at, took in series)
        body.append(
            f'<polyline points="{points}" fill="none" stroke="{colors[index]}" stroke-width="1.5"/>'
        )
        row = _TOP + 14 + 20 * index
        body.append(
            line(_WIDTH - _RIGHT + 14, row - 4, _WIDTH - _RIGHT + 32, row - 4, colors[index])
        )
        body.append(text(_WIDTH - _RIGHT + 38, row, name, "ours" if index == 0 else ""))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
            f"<style>{STYLE}</style>",
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
            text(16, 28, heading, "heading"),
            *body,
            "</svg>\n",
        ]
    )


class _Scale:
    """Where a time and a number of milliseconds stand; the latter on a logarithmic scale."""

    def __init__(self, seconds: float, most: float) -> None:
        self.seconds, self.most = seconds, most

    def x(self, at: float) -> float:
        return _LEFT + at / self.seconds * (_WIDTH - _LEFT - _RIGHT)

    def y(self, took: float) -> float:
        part = math.log(max(took, _LEAST_MS) / _LEAST_MS) / math.log(self.most / _LEAST_MS)
        return _HEIGHT - _BOTTOM - part * (_HEIGHT - _TOP - _BOTTOM)


def _axes(scale: _Scale) -> Iterator[str]:
    bottom = _HEIGHT - _BOTTOM
    tick = _LEAST_MS
    while tick <= scale.most:
        yield line(_LEFT, scale.y(tick), _WIDTH - _RIGHT, scale.y(tick), FAINT)
        label = f"{tick / 1000:g} s" if tick >= 1000 else f"{tick:g} ms"
        yield text(_LEFT - 8, scale.y(tick) + 4, label, "faint small end")
        tick *= 10
    for second in range(0, int(scale.seconds) + 1, 5):
        yield text(scale.x(second), bottom + 16, f"{second} s", "faint small middle")
    yield text(16, _TOP - 6, "ping", "faint small")
