"""Libraries in C that tests preload, compiled once for a user and a state of their sources."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def built_library(
    kind: str,
    about: str,
    sources: Path,
    command: Sequence[str],
    *,
    headers: Mapping[str, str] | None = None,
    libraries: Sequence[str] = (),
) -> Path:
    """Return the library of this kind; one that an earlier run built alike is used again.

    ``headers`` are further files for the sources to include, by name; ``libraries`` are what the
    linker gets. Raises RuntimeError with what the compiler said.
    """
    headers = headers or {}
    parts = [each.read_bytes() for each in sorted(sources.glob("*.[ch]"))]
    parts += [text.encode() for text in (*headers.values(), " ".join(command))]
    digest = hashlib.sha256(b"".join(parts)).hexdigest()[:16]
    library = Path(tempfile.gettempdir(), f"simulated-{kind}-{os.getuid()}-{digest}", f"{kind}.so")
    if not _is_built(library):
        _build(library, about, sources, [*command, *libraries], headers)
    return library


def _is_built(library: Path) -> bool:
    """Whether the library is there, and ours."""
    return library.exists() and library.parent.lstat().st_uid == os.getuid()


def _build(
    library: Path, about: str, sources: Path, command: list[str], headers: Mapping[str, str]
) -> None:
    """Build beside, then rename: test runs at the same time must not see half a library."""
    work = Path(tempfile.mkdtemp(prefix=f"{library.parent.name}-build-"))
    try:
        work.chmod(0o755)
        for name, text in headers.items():
            (work / name).write_text(text)
        compiler, *options = command
        files = [str(each) for each in sorted(sources.glob("*.c"))]
        argv = [compiler, f"-I{work}", "-o", str(work / library.name), *files, *options]
        built = subprocess.run(argv, check=False, stderr=subprocess.PIPE, text=True)
        if built.returncode != 0:
            raise RuntimeError(f"cannot build {about}:\n{built.stderr}")
        (work / library.name).chmod(0o755)  # an ordinary user's programs load it too
        try:
            work.rename(library.parent)
        except OSError:  # somebody else was first, or what is there is no good
            if not _is_built(library):
                shutil.rmtree(library.parent, ignore_errors=True)
                work.rename(library.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)
