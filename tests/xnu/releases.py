"""The four releases of XNU that run here, and where their sources come from."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path
from typing import NamedTuple

_REPOSITORY = "https://github.com/apple-oss-distributions/xnu"
_FOLDERS = ("bsd", "osfmk", "libkern", "EXTERNAL_HEADERS", "iokit", "pexpert", "san", "security")


class Release(NamedTuple):
    """One release: its number, Apple's tag for it, and what Darwin says of itself there."""

    number: int
    tag: str
    darwin: str
    macos: str


RELEASES = (
    Release(4570, "xnu-4570.71.2", "17.7.0", "10.13"),
    Release(8796, "xnu-8796.141.3", "22.6.0", "13.5"),
    Release(10063, "xnu-10063.101.15", "23.4.0", "14.4"),
    Release(11417, "xnu-11417.101.15", "24.4.0", "15.4"),
)


def sources() -> Path | None:
    """Return what XNU_SOURCES names, None if it is not set: a clone of Apple's repository that has
    the four tags, or an archive with a folder xnu-NUMBER for each.
    """
    named = os.environ.get("XNU_SOURCES")
    return Path(named).resolve() if named else None


def how_to_get_them() -> str:
    """Say how to have these tests run."""
    tags = " ".join(f"tag {each.tag}" for each in RELEASES)
    fetch = f"git init xnu && git -C xnu fetch --depth 1 {_REPOSITORY} {tags}"
    return f"Apple's code is not here: set XNU_SOURCES to a clone of it ({fetch})"


def unpack(source: Path, release: Release, into: Path) -> None:
    """Put the sources of a release into a folder."""
    into.mkdir()
    if source.is_dir():
        _export(source, release, into)
        return
    with tarfile.open(source) as archive:
        prefix = f"xnu-{release.number}/"
        members = [each for each in archive if each.name.startswith(prefix) and each.isfile()]
        for member in members:
            member.name = member.name[len(prefix) :]
        archive.extractall(into, members)  # noqa: S202 - plain files, of a folder that we name


def _export(clone: Path, release: Release, into: Path) -> None:
    """Take only the folders that are needed."""
    git = ["git", "-c", f"safe.directory={clone}", "-C", str(clone)]
    listed = subprocess.run(
        [*git, "ls-tree", "--name-only", release.tag], check=True, stdout=subprocess.PIPE, text=True
    )
    folders = [each for each in listed.stdout.split() if each in _FOLDERS]
    with subprocess.Popen(
        [*git, "archive", release.tag, "--", *folders], stdout=subprocess.PIPE
    ) as exported:
        subprocess.run(["tar", "-x", "-C", str(into)], check=True, stdin=exported.stdout)
    if exported.returncode != 0:
        raise RuntimeError(f"{clone} has no {release.tag}")
