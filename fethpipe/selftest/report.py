"""The results of the self-test: lines of text while it runs, or one JSON object at its end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, Union

from ..errors import FethpipeError, reason

Number = Union[int, float]


class Outcome(Enum):
    """Whether the kernel of this machine behaves as the program expects."""

    OK = "ok"
    DIFFERS = "differs"
    NOT_AVAILABLE = "not available"


_FORMS = {
    Outcome.OK: "{} ({})",
    Outcome.DIFFERS: "{}; here: {}",
    Outcome.NOT_AVAILABLE: "{}: {}",
}


class DiffersError(Exception):
    """A fact does not hold here. The text says what was seen instead."""


class NotAvailableError(Exception):
    """A fact could not be checked here. The text says why."""


def expect(holds: bool, seen: str) -> str:
    """Return "" if a fact holds. Raises DiffersError with what was seen instead if it does not."""
    if not holds:
        raise DiffersError(seen)
    return ""


class Fact(NamedTuple):
    """A fact: a name for programs, what is expected (in words), the outcome, what was seen."""

    name: str
    expected: str
    outcome: Outcome
    seen: str


class Measure(NamedTuple):
    name: str
    value: Number
    unit: str


class Report:
    """Collects the results. As text, each line is printed at once."""

    def __init__(self, *, as_json: bool = False) -> None:
        self._as_json = as_json
        self._machine: dict[str, str] = {}
        self._facts: list[Fact] = []
        self._measures: list[Measure] = []
        self._steps: list[str] = []

    def machine(self, name: str, value: str) -> None:
        """Add a property of this machine."""
        self._machine[name] = value
        self._print(f"{name}: {value}")

    def say(self, line: str) -> None:
        """Add a step of the main job."""
        self._steps.append(line)
        self._print(line)

    def check(self, name: str, expected: str, look: Callable[[], str]) -> bool:
        """Check a fact, add the result, and return whether the fact holds.

        ``look`` returns what it saw, "" if there is nothing to add, or raises DiffersError or
        NotAvailableError. OSError and FethpipeError mean that the fact differs.
        """
        outcome = Outcome.OK
        try:
            seen = look()
        except NotAvailableError as error:
            outcome, seen = Outcome.NOT_AVAILABLE, str(error)
        except DiffersError as error:
            outcome, seen = Outcome.DIFFERS, str(error)
        except OSError as error:
            call = f"{error.filename}: " if error.filename else ""
            outcome, seen = Outcome.DIFFERS, f"{call}{reason(error)}"
        except FethpipeError as error:
            outcome, seen = Outcome.DIFFERS, error.message
        self._facts.append(Fact(name, expected, outcome, seen))
        form = _FORMS[outcome] if seen else "{}"
        self._print(f"{outcome.value:13}  {form.format(expected, seen)}")
        return outcome is Outcome.OK

    def measure(self, name: str, value: Number, unit: str) -> None:
        self._measures.append(Measure(name, value, unit))
        self._print(f"{name}: {value:,} {unit}")

    def finish(self, error: FethpipeError | None = None) -> None:
        """End the report: the main job works, or ``error`` says why not."""
        if error is None:
            self._print("it works")
        if self._as_json:
            print(json.dumps(self._as_dict(error), indent=2), flush=True)

    def _as_dict(self, error: FethpipeError | None) -> dict[str, object]:
        return {
            "machine": self._machine,
            "facts": [{**fact._asdict(), "outcome": fact.outcome.value} for fact in self._facts],
            "measures": [measure._asdict() for measure in self._measures],
            "steps": self._steps,
            "works": error is None,
            "error": None if error is None else str(error),
        }

    def _print(self, line: str) -> None:
        if not self._as_json:
            print(line, file=sys.stdout, flush=True)
