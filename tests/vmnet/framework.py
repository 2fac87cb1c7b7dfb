"""The stand-in for vmnet.framework, from the tests' side.

The stand-in itself is the C library in `standin/` (start with `standin/standin.h`).  This module
builds it, and tells what the environment of a program needs to find it.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.darwin import simulation
from tests.darwin.libraries import built_library
from tests.darwin.simulation import SimulatedDarwin
from tests.live.programs import FETHPIPE, on_mac

_SOURCES = Path(__file__).parent / "standin"
_COMPILE = (
    "clang -std=gnu11 -O2 -fblocks -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden -pthread"
)
_LIBRARIES = "-lBlocksRuntime -ldl"


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

    @property
    def environment(self) -> dict[str, str]:
        environment = super().environment
        environment["LD_PRELOAD"] += f":{self._vmnet}"
        environment["VMNET_LOG"] = str(self._log)
        bent = {f"VMNET_{name.upper()}": value for name, value in self.settings.items()}
        return {**environment, **bent}

    def launcher(self, *before: str) -> list[str]:
        """What starts a fethpipe on this Mac, in front of its arguments."""
        return on_mac(self, *before, *FETHPIPE)

    def noted(self, start: str = "") -> list[str]:
        """What the framework wrote down: "start" and "stop" with the process, for one."""
        return [line for line in self._log.read_text().splitlines() if line.startswith(start)]

    def violations(self, *, forget: bool = False) -> list[str]:
        """What a correct program would not have done, to the kernel or the framework."""
        return [*super().violations(forget=forget), *self.noted("violation")]


@functools.cache
def library_path(*, old: bool = False) -> Path:
    """The built library."""
    return built_library(
        "vmnet",
        "the stand-in for vmnet.framework",
        _SOURCES,
        [*_COMPILE.split(), *(["-DOLD_MACOS"] if old else [])],
        libraries=_LIBRARIES.split(),
    )
