"""The program in one block, and the first stage that takes it from descriptor 0."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fethpipe.system.bundle import Program, collect_files, pack_program, stage_arguments

ROOT = Path(__file__).parents[2]
SECONDS = 60
DIGEST = "from fethpipe.system.bundle import pack_program;print(pack_program('a:b', ['c']).digest)"


def far(code: str) -> Program:
    """Return a program that executes some code where only the bundle is."""
    return pack_program("builtins:exec", [code])


def run(
    program: Program, sent: bytes | None = None, *, folder: Path = Path("/")
) -> subprocess.CompletedProcess[bytes]:
    """Run a program as the far side does."""
    return subprocess.run(
        [sys.executable, *stage_arguments(program)],
        input=program.block if sent is None else sent,
        capture_output=True,
        cwd=folder,
        timeout=SECONDS,
        check=False,
    )


def test_it_holds_every_module_as_written() -> None:
    paths = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / "fethpipe").rglob("*.py")}
    collected = dict(collect_files())
    assert collected.keys() == paths.keys()
    for name, source in collected.items():
        assert source == paths[name].read_text(encoding="utf-8")


def test_the_program_runs_from_it() -> None:
    done = run(pack_program("fethpipe.cli:main", [["--version"]]))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"fethpipe ")


def test_what_the_function_returns_is_the_exit_status() -> None:
    done = run(pack_program("fethpipe.cli:main", [["--nonsense"]]))
    assert done.returncode == 64
    assert b"unrecognized arguments: --nonsense" in done.stderr


def test_what_follows_the_block_is_left_alone() -> None:
    program = far("import os; os.write(1, os.read(0, 100))")
    done = run(program, program.block + b"the first frame")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"the first frame", b"")


def test_a_block_may_come_in_pieces() -> None:
    program = far("print('whole')")
    argv = [sys.executable, *stage_arguments(program)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/") as process:
        assert process.stdin is not None
        for start in range(0, len(program.block), 9973):
            os.write(process.stdin.fileno(), program.block[start : start + 9973])
        said, _ = process.communicate(timeout=SECONDS)
    assert said == b"whole\n"


@pytest.mark.parametrize("missing", [1, 1000])
def test_a_block_that_ends_early_is_told(missing: int) -> None:
    program = far("print('never')")
    size = len(program.block)
    done = run(program, program.block[:-missing])
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == (
        f"fethpipe: only {size - missing} of {size} bytes of the program came\n"
    )


@pytest.mark.parametrize("place", [0, 1000, -1])
def test_a_block_that_was_changed_is_not_run(place: int) -> None:
    program = far("print('never')")
    changed = bytearray(program.block)
    changed[place] ^= 1
    done = run(program, bytes(changed))
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"fethpipe: the program arrived damaged" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_traceback_shows_the_lines() -> None:
    done = run(pack_program("fethpipe.errors:reason", ["no error"]))
    assert done.returncode == 1
    assert b'File "<fethpipe>/fethpipe/errors.py", line' in done.stderr
    assert b"if error.errno is None:" in done.stderr


def test_the_disk_is_not_looked_at_for_our_modules(tmp_path: Path) -> None:
    package = tmp_path / "fethpipe"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('the wrong one')")
    done = run(pack_program("fethpipe.cli:main", [["--version"]]), folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_module_that_is_not_there_is_told() -> None:
    done = run(far("import fethpipe.nothing"))
    assert b"ModuleNotFoundError: No module named 'fethpipe.nothing'" in done.stderr


def test_a_bundle_makes_the_same_bundle() -> None:
    done = run(far(DIGEST))
    assert done.stdout.decode().strip() == pack_program("a:b", ["c"]).digest, done.stderr


def test_a_zip_file_makes_the_same_bundle(tmp_path: Path) -> None:
    archive = tmp_path / "fethpipe.zip"
    with zipfile.ZipFile(archive, "w") as writer:
        for name, source in collect_files():
            writer.writestr(name, source)
    done = subprocess.run(
        [sys.executable, "-c", DIGEST],
        env={**os.environ, "PYTHONPATH": str(archive)},
        cwd="/",
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.stdout.decode().strip() == pack_program("a:b", ["c"]).digest, done.stderr
