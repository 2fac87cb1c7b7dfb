"""However it is installed, it is the same program and says so."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

import pytest

from fethpipe import __version__
from tests.live.netns import require_tools

ROOT = Path(__file__).parents[1]
FORMULA = (ROOT / "packaging/homebrew/fethpipe.rb").read_text()
INSTALL_SECONDS = 120


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: building leaves files in the folder that it builds."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("fethpipe", "tools"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    return copy


def run(*argv: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        argv, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_checkout(tmp_path: Path) -> None:
    assert run(sys.executable, "-m", "fethpipe", "--version", cwd=ROOT) == said()


def said() -> str:
    return f"fethpipe {__version__}\n"


def test_pip(checkout: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    bin_folder = tmp_path / "venv/bin"
    run(bin_folder / "pip", "install", "--quiet", checkout)
    assert run(bin_folder / "fethpipe", "--version") == said()
    listed = run(bin_folder / "pip", "list", "--format=freeze")
    assert f"fethpipe=={__version__}" in listed.splitlines()


def test_pipx(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_tools("pipx")
    for variable, folder in (("PIPX_HOME", "home"), ("PIPX_BIN_DIR", "bin")):
        monkeypatch.setenv(variable, str(tmp_path / folder))
    run("pipx", "install", checkout)
    assert run(tmp_path / "bin/fethpipe", "--version") == said()


def test_the_single_file(checkout: Path, tmp_path: Path) -> None:
    archive = tmp_path / "fethpipe.pyz"
    run(sys.executable, checkout / "tools/make_pyz.py", archive)
    assert run(sys.executable, archive, "--version", cwd=tmp_path) == said()


def test_the_formula_installs_the_programs_of_the_package() -> None:
    wrappers = dict(re.findall(r'^ +"([\w-]+)" +=> "([\w.]+)",$', FORMULA, re.MULTILINE))
    scripts = (ROOT / "pyproject.toml").read_text().partition("[project.scripts]\n")[2]
    declared = dict(re.findall(r'^([\w-]+) = "([\w.]+):main"$', scripts, re.MULTILINE))
    assert wrappers.keys() == declared.keys()
    for program, module in wrappers.items():
        assert declared[program] in (module, f"{module}.cli")
        found = find_spec(module)
        assert found is not None
        if found.submodule_search_locations:  # a package runs by its __main__
            assert find_spec(f"{module}.__main__")
    expected = re.search(r"assert_match\(/\\A(.+)\\n\\z/, ", FORMULA)
    assert expected is not None
    assert re.fullmatch(expected[1], said().strip())
