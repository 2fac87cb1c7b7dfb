"""The program in blocks, and the first stage that takes it from descriptor 0."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from fethpipe.system.bundle import (
    STAGE_ARGUMENTS,
    Packer,
    collect_sources,
    pack_program,
    strip_source,
)

ROOT = Path(__file__).parents[2]
SECONDS = 60
_ITSELF = ["fethpipe.cli", "fethpipe.system.bundle", "fethpipe.system.importer"]
_ON_LINUX = ["fethpipe.abi.seccomp"]  # imported there only, so it is not found
_DIGEST = f"""
import hashlib
from fethpipe.system.bundle import pack_program
print(hashlib.sha256(pack_program('builtins:id', ['c'], {_ITSELF})).hexdigest())
"""


def far(code: str, also: Sequence[str] = ()) -> bytes:
    """Return a program that executes some code where only the bundle is."""
    return pack_program("builtins:exec", [code], also)


def run(program: bytes, *, folder: Path = Path("/")) -> subprocess.CompletedProcess[bytes]:
    """Run a program as the far side does."""
    return subprocess.run(
        [sys.executable, *STAGE_ARGUMENTS],
        input=program,
        capture_output=True,
        cwd=folder,
        timeout=SECONDS,
        check=False,
    )


# ---- what is sent ----


def bare(source: str) -> str:
    """Return what a source does, and on which lines, but for docstrings and types of results."""
    tree = compile(source, "", "exec", ast.PyCF_ONLY_AST)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [each for each in body if not _is_constant(each)]  # type: ignore[attr-defined]
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        for column in ("col_offset", "end_col_offset", "end_lineno"):
            if hasattr(node, column):
                setattr(node, column, 0)
    return ast.dump(tree, include_attributes=True)


def _is_constant(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@pytest.mark.parametrize(
    "path", [path.relative_to(ROOT).as_posix() for path in (ROOT / "fethpipe").rglob("*.py")]
)
def test_without_comments_a_module_does_the_same_on_the_same_lines(path: str) -> None:
    source = (ROOT / path).read_text(encoding="utf-8")
    stripped = strip_source(source)
    compile(stripped, path, "exec")
    assert bare(stripped) == bare(source)


def test_comments_and_docstrings_are_left_out() -> None:
    source = '"""A\nmodule."""\n\n# Why.\nclass A:\n    """One\n    class."""\n\nB = "#"  # B\n'
    assert strip_source(source) == '\n\n\n\nclass A:\n 0\n\n\nB = "#"\n'


def test_what_a_module_imports_is_sent_before_it() -> None:
    paths = [path for path, _ in collect_sources(["fethpipe.wire.hello"])]
    assert paths[-1] == "fethpipe/wire/hello.py"
    assert {"fethpipe/__init__.py", "fethpipe/wire/__init__.py"} < set(paths)
    assert not [path for path in paths if "tunnel" in path]
    done = run(far("import fethpipe.wire.hello", ["fethpipe.wire.hello"]))
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_was_sent_is_not_sent_again() -> None:
    packer = importing("fethpipe.errors")
    first = packer.pack(["fethpipe.wire.hello"], more=True)
    both = [packer.copy().pack(["fethpipe.errors", "fethpipe.wire.hello"]) for _ in range(2)]
    assert both[0] == both[1]
    assert len(both[0]) < len(first)
    assert run(first + both[0]).stderr.startswith(b"<module 'fethpipe.errors' from")


# ---- how it runs ----


def test_what_the_function_returns_is_the_exit_status() -> None:
    done = run(pack_program("fethpipe.cli:main", [["--nonsense"]], _ON_LINUX))
    assert done.returncode == 64
    assert b"unrecognized arguments: --nonsense" in done.stderr


def test_what_follows_is_left_alone() -> None:
    done = run(far("import os; os.write(1, os.read(0, 100))") + b"the first frame")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"the first frame", b"")


def importing(module: str) -> Packer:
    """Return what packs a program of several blocks that imports a module and prints it on stderr.

    import_module ignores a second argument if the name is absolute.
    """
    return Packer("importlib:import_module", [module])


def test_a_module_of_the_first_block_does_not_wait_for_others() -> None:
    """Nor does what it imports of Python itself: array, fcntl, termios."""
    done = run(importing("fethpipe.system.stream").pack(["fethpipe.system.stream"], more=True))
    assert done.stderr.startswith(b"<module 'fethpipe.system.stream' from")


def test_a_function_can_wait_for_all_blocks() -> None:
    # Its third argument is a clock. The one it gets shows no time.
    packer = Packer("timeit:timeit", ["pass", "pass"])
    first = packer.pack(more=True)
    assert b"only a part of the program came" in run(first).stderr
    done = run(first + packer.pack(["fethpipe.errors"]))
    assert b"only a part" not in done.stderr
    assert b"TypeError" in done.stderr


def test_it_may_come_in_pieces() -> None:
    program = far("import fethpipe.cli; print('whole')", ["fethpipe.cli", *_ON_LINUX])
    argv = [sys.executable, *STAGE_ARGUMENTS]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/") as process:
        assert process.stdin is not None
        for start in range(0, len(program), 997):
            os.write(process.stdin.fileno(), program[start : start + 997])
        said, _ = process.communicate(timeout=SECONDS)
    assert said == b"whole\n"


@pytest.mark.parametrize("left", [0, 10, 1000, -1])
def test_a_program_that_ends_early_is_told(left: int) -> None:
    done = run(far("print('never')", ["fethpipe.cli"])[:left])
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"fethpipe: only a part of the program came: stdin ended\n"


@pytest.mark.parametrize("place", [0, 3, 4, 8, 1000, -1])
def test_a_program_that_was_changed_is_not_run(place: int) -> None:
    changed = bytearray(far("print('never')", ["fethpipe.cli"]))
    changed[place] ^= 1
    done = run(bytes(changed) + bytes(1 << 20))
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"fethpipe: the program arrived damaged" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_traceback_shows_the_lines() -> None:
    done = run(pack_program("fethpipe.errors:reason", ["no error"]))
    assert done.returncode == 1
    source = (ROOT / "fethpipe/errors.py").read_text().splitlines()
    number = source.index("    if error.errno is None:") + 1
    assert f'File "<fethpipe>/fethpipe/errors.py", line {number}, '.encode() in done.stderr
    assert b"if error.errno is None:" in done.stderr


def test_the_disk_is_not_looked_at_for_our_modules(tmp_path: Path) -> None:
    package = tmp_path / "fethpipe"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('the wrong one')")
    done = run(pack_program("fethpipe.cli:main", [["--version"]], _ON_LINUX), folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"fethpipe ")


def test_a_module_that_is_not_there_is_told() -> None:
    done = run(far("import fethpipe.nothing"))
    assert b"ModuleNotFoundError: No module named 'fethpipe" in done.stderr


# ---- a program that packs itself ----


def test_it_packs_the_same_once_it_was_sent_and_from_a_zip_file(tmp_path: Path) -> None:
    archive = tmp_path / "fethpipe.zip"
    with zipfile.ZipFile(archive, "w") as writer:
        for name, source in collect_sources(_ITSELF):
            writer.writestr(name, source)
    zipped, here = (
        subprocess.run(
            [sys.executable, "-c", _DIGEST],
            env={**os.environ, "PYTHONPATH": str(place)},
            cwd="/",
            capture_output=True,
            timeout=SECONDS,
            check=True,
        ).stdout
        for place in (archive, ROOT)
    )
    sent = run(far(_DIGEST, _ITSELF))
    assert zipped == here == sent.stdout, sent.stderr
