"""The stand-in for vmnet.framework, from the tests' side.

The stand-in itself is the C library in `standin/` (start with `standin/standin.h`).  This module
builds it, and tells what the environment of a program needs to find it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.darwin import simulation
from tests.darwin.simulation import SimulatedDarwin
from tests.live.programs import FETHPIPE

_SOURCES = Path(__file__).parent / "standin"
_COMPILE = (
    "clang -std=gnu11 -O2 -fblocks -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden -pthread"
)
_LIBRARIES = "-lBlocksRuntime -ldl"
_NAME = "vmnet.so"


@functools.cache
def missing_requirement() -> str | None:
    """What this machine lacks to run the stand-in, for a test's skip message."""
    missing = simulation.missing_requirement()
    if missing is not None:
        return missing
    if not Path("/dev/net/tun").exists():
        return "the stand-in for vmnet.framework needs /dev/net/tun"
    if shutil.which("clang") is None:
        return "the stand-in for vmnet.framework needs clang"
    source = "#include <Block.h>\nint main(void) { return Block_copy(^{ }) == 0; }\n"
    command = f"clang -fblocks -x c - -o {os.devnull} -lBlocksRuntime".split()
    built = subprocess.run(command, input=source.encode(), capture_output=True, check=False)
    if built.returncode != 0:
        return "the stand-in for vmnet.framework needs clang with blocks (libblocksruntime-dev)"
    return None


class MacWithVmnet(SimulatedDarwin):
    """A simulated Mac that has vmnet.framework."""

    def __init__(
        self, namespace: str, settings: Mapping[str, str] | None = None, *, old: bool = False
    ) -> None:
        """`settings` are those that standin.h lists, in lower case and without `vmnet_`.

        `old`: its vmnet lacks what came with macOS 11.
        """
        super().__init__(namespace=namespace)
        self.settings = dict(settings or {})
        self._vmnet = library_path(old=old)
        self._log = self.state.with_name("vmnet")
        self._log.touch()
        self._log.chmod(0o666)  # an ordinary user's programs write there too

    def __enter__(self) -> MacWithVmnet:
        return self

    @property
    def environment(self) -> dict[str, str]:
        environment = super().environment
        environment["LD_PRELOAD"] += f":{self._vmnet}"
        environment["VMNET_LOG"] = str(self._log)
        bent = {f"VMNET_{name.upper()}": value for name, value in self.settings.items()}
        return {**environment, **bent}

    def launcher(self, *before: str) -> list[str]:
        """What starts a fethpipe on this Mac, in front of its arguments."""
        environment = [f"{name}={value}" for name, value in self.environment.items()]
        return ["env", *environment, *before, *FETHPIPE]

    def noted(self, start: str = "") -> list[str]:
        """What the framework wrote down: "start" and "stop" with the process, for one."""
        return [line for line in self._log.read_text().splitlines() if line.startswith(start)]

    def violations(self, *, forget: bool = False) -> list[str]:
        """What a correct program would not have done, to the kernel or the framework."""
        return [*super().violations(forget=forget), *self.noted("violation")]


@functools.cache
def library_path(*, old: bool = False) -> Path:
    """The built library; one that an earlier run built from the same sources is used again."""
    command = [*_COMPILE.split(), *(["-DOLD_MACOS"] if old else [])]
    sources = sorted(_SOURCES.glob("*.[ch]"))
    content = b"".join(each.read_bytes() for each in sources) + " ".join(command).encode()
    name = f"simulated-vmnet-{os.getuid()}-{hashlib.sha256(content).hexdigest()[:16]}"
    directory = Path(tempfile.gettempdir(), name)
    if not _is_built(directory):
        _build(directory, command)
    return directory / _NAME


def _is_built(directory: Path) -> bool:
    """Whether the library is there, and ours."""
    return (directory / _NAME).exists() and directory.lstat().st_uid == os.getuid()


def _build(directory: Path, command: list[str]) -> None:
    """Build beside, then rename: test runs at the same time must not see half a library."""
    work = Path(tempfile.mkdtemp(prefix="simulated-vmnet-build-"))
    try:
        work.chmod(0o755)
        sources = [str(each) for each in sorted(_SOURCES.glob("*.c"))]
        argv = [*command, "-o", str(work / _NAME), *sources, *_LIBRARIES.split()]
        built = subprocess.run(argv, check=False, stderr=subprocess.PIPE, text=True)
        if built.returncode != 0:
            raise RuntimeError(f"cannot build the stand-in for vmnet.framework:\n{built.stderr}")
        (work / _NAME).chmod(0o755)  # an ordinary user's programs load it too
        try:
            work.rename(directory)
        except OSError:  # somebody else was first, or what is there is no good
            if not _is_built(directory):
                shutil.rmtree(directory, ignore_errors=True)
                work.rename(directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)
