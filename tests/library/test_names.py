"""What ``import fethpipe`` offers: all of it, typed, and loaded no sooner than asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import fethpipe
from fethpipe import library as api

ROOT = Path(__file__).parents[2]


def python(code: str) -> str:
    argv = [sys.executable, "-c", code]
    return subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_the_package_shows_the_whole_library() -> None:
    assert fethpipe.__all__ == api.__all__
    for name in fethpipe.__all__:
        assert getattr(fethpipe, name) is getattr(api, name)


def test_dir_and_help_show_them() -> None:
    assert {*api.__all__, "__version__"} <= {*dir(fethpipe)}
    assert {name for name in dir(fethpipe) if not name.startswith("_")} == {*api.__all__}
    said = python("import fethpipe; help(fethpipe)")
    assert "create_device(" in said
    assert "class EthernetDevice" in said


def test_what_is_public_has_a_docstring() -> None:
    for name in api.__all__:
        thing = getattr(api, name)
        if isinstance(thing, type):
            assert thing.__doc__, name
            for method, function in vars(thing).items():
                if callable(function) and not method.startswith("_"):
                    assert function.__doc__, f"{name}.{method}"


def test_another_name_is_none_of_it() -> None:
    with pytest.raises(AttributeError, match="'fethpipe' has no attribute 'nonsense'"):
        fethpipe.nonsense  # noqa: B018


def test_the_program_starts_without_the_library() -> None:
    code = "import sys, fethpipe.cli; print(*(n for n in sys.modules if n.startswith('fethpipe')))"
    loaded = set(python(code).split())
    assert "fethpipe.cli" in loaded
    assert not loaded & {"fethpipe.library"}


def test_the_library_starts_without_asyncio_and_the_command_line() -> None:
    code = "import sys, fethpipe; fethpipe.Feth; print(*sys.modules)"
    loaded = set(python(code).split())
    assert "fethpipe.library" in loaded
    assert not loaded & {"asyncio", "argparse", "fethpipe.cli", "subprocess"}


def test_it_says_that_it_is_typed() -> None:
    assert (ROOT / "fethpipe/py.typed").exists()
    assert 'fethpipe = ["py.typed"]' in (ROOT / "pyproject.toml").read_text()
