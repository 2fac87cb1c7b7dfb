"""However it is installed, it is the same program and says so."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import venv
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
    for name in ("fethpipe", "tools", "docs/man"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    return copy


def run(*argv: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        argv, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_checkout() -> None:
    assert run(sys.executable, "-m", "fethpipe", "--version", cwd=ROOT) == said()


def said() -> str:
    return f"fethpipe {__version__}\n"


@pytest.fixture(scope="module")
def installed(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of a virtual environment that pip installed into."""
    environment = tmp_path_factory.mktemp("installed")
    venv.create(environment, with_pip=True)
    run(environment / "bin/pip", "install", "--quiet", checkout)
    return environment / "bin"


def test_pip(installed: Path) -> None:
    assert run(installed / "fethpipe", "--version") == said()
    listed = run(installed / "pip", "list", "--format=freeze")
    assert f"fethpipe=={__version__}" in listed.splitlines()
    assert (installed.parent / "share/man/man1/fethpipe.1").exists()  # as the README says


@pytest.mark.exhaustive
def test_pipx_from_an_empty_home(tmp_path: Path) -> None:
    """The very step of .ci/mac, which also tries uv where that is installed."""
    require_tools("pipx")
    readme = (ROOT / "README.md").read_text()
    for recipe in ("install, pipx", "install, uv"):
        assert f"<!-- recipe: {recipe} -->" in readme
    assert 'recipe README.md "install, $tool"' in (ROOT / ".ci/mac.d/65-install.sh").read_text()
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIPX", "UV", "SUDO"))
    }
    environment |= {"PYTHON": sys.executable, "REPORT": str(tmp_path), "OUTPUT": str(tmp_path)}
    done = subprocess.run(
        ["sh", ".ci/mac.d/65-install.sh"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"installed package fethpipe {__version__}" in done.stdout


def test_the_single_file(checkout: Path, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    (command,) = re.findall(r"<!-- recipe: install, one file -->\n```sh\n(.*)\n```", readme)
    assert command == "python3 tools/make_pyz.py fethpipe.pyz"
    run(sys.executable, *command.split()[1:], cwd=checkout)
    archive = (checkout / "fethpipe.pyz").rename(tmp_path / "fethpipe.pyz")
    assert run(sys.executable, archive, "--version", cwd=tmp_path) == said()


# ---- the formula ----


def test_the_formula_uses_an_environment_of_its_own_and_everything_that_there_is() -> None:
    assert "virtualenv_create(libexec" in FORMULA
    assert "PYTHONPATH" not in FORMULA
    installed = re.findall(r'^    (\w+)\.install Dir\["([^"]+)"\]$', FORMULA, re.MULTILINE)
    kinds = {
        "man1": "docs/man/*.1",
        "bash_completion": "completions/bash/*",
        "zsh_completion": "completions/zsh/*",
        "fish_completion": "completions/fish/*",
    }
    assert dict(installed) == kinds
    assert all(any(ROOT.glob(pattern)) for pattern in kinds.values())


def test_the_test_of_the_formula_passes(tmp_path: Path) -> None:
    expected = re.search(r"assert_match\(/\\A(.+)\\n\\z/, ", FORMULA)
    assert expected is not None
    assert re.fullmatch(expected[1], said().strip())
    (code,) = re.findall(r'"codec\.py"\)\.write <<~PYTHON\n(.*?)\n    PYTHON\n', FORMULA, re.DOTALL)
    (tmp_path / "codec.py").write_text(textwrap.dedent(code))
    path = f"import sys; sys.path.append({str(ROOT)!r}); import runpy; runpy.run_path('codec.py')"
    run(sys.executable, "-I", "-c", path, cwd=tmp_path)


def test_programs_that_pip_installs_run_no_file_of_the_current_folder(
    installed: Path, tmp_path: Path
) -> None:
    for name in ("argparse.py", "fethpipe.py"):
        (tmp_path / name).write_text("raise SystemExit('a file of the current folder was run')")
    for program in ("fethpipe", "fethctl"):
        run(installed / program, "--help", cwd=tmp_path)


@pytest.mark.parametrize("program", ["fethpipe", "fethctl"])
def test_a_part_of_python_that_cannot_be_loaded_is_told_in_a_line(
    installed: Path, program: str
) -> None:
    """As without memory for a shared library; a start by ``-m`` runs the same function."""
    broken = "import sys; sys.modules['_ctypes'] = sys.modules['logging'] = None"
    code = (
        f"{broken}; import runpy; runpy.run_path({str(installed / program)!r}, run_name='__main__')"
    )
    argv = [str(installed / "python"), "-c", code, *(["list"] if program == "fethctl" else [])]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 71
    assert done.stderr.startswith(f"{program}: cannot load the program: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("module", ["fethpipe", "fethpipe.ctl"])
def test_an_old_python_is_told_what_is_needed(module: str) -> None:
    pretend = "import runpy, sys; sys.version_info = (3, 8, 18); sys.version = '3.8.18 (old)'"
    code = f"{pretend}; runpy.run_module({module!r}, run_name='__main__')"
    _refused_by([sys.executable, "-c", code], "3.8.18")


@pytest.mark.parametrize("python", ["python2.7", "python3.6", "python3.8"])
def test_a_real_old_python_is_told(python: str) -> None:
    version = python[len("python") :]
    kept = [str(each) for each in Path.home().glob(f".pyenv/versions/{version}.*/bin/{python}")]
    found = kept[0] if kept else shutil.which(python)
    if found is None:
        pytest.skip(f"needs a {python}")
    for module in ("fethpipe", "fethpipe.ctl"):
        _refused_by([found, "-B", "-m", module], f"{version}.")


def _refused_by(argv: list[str], version: str) -> None:
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"fethpipe: needs Python 3.9 or newer, this is {version}")
    assert done.stderr.count("\n") == 1
