"""``--selftest``: what it shows, where it refuses, and that nothing of it stays behind."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from fethpipe import __version__
from tests.live.netns import require_kernel, require_tools
from tests.live.private import end_by_signal
from tests.live.programs import FETHPIPE, ROOT
from tests.patience import PATIENCE

pytestmark = pytest.mark.live

SELFTEST = (*FETHPIPE, "--selftest")
# Root without the rights to make a namespace and to override file modes: it can only make a user
# namespace. To map itself into that, it needs CAP_SETFCAP (user_namespaces(7)).
POWERLESS = ("setpriv", "--bounding-set", "-all,+setfcap", "--inh-caps", "-all")
NO_MORE_NAMESPACES = (
    *("unshare", "--user", "--map-root-user", "sh", "-ec"),
    *('echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"', "sh"),
)


@pytest.fixture(autouse=True)
def _requirements() -> None:
    require_kernel()
    require_tools("unshare", "setpriv", "mount", "mknod")


def run(argv: Sequence[str], *, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )


def run_after(preparation: str, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program in a mount namespace that a shell has prepared."""
    return run(["unshare", "--mount", "sh", "-ec", f'{preparation}\nexec "$@"', "sh", *argv])


def assert_it_works(done: subprocess.CompletedProcess[str], *, who: str) -> None:
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    said = done.stdout
    assert said.startswith(f"fethpipe: {__version__}\nsystem: Linux ")
    for size in (14, 60, 1514, 2048, 2049, 8192, 8193, 65535):
        assert (
            f"ok             a frame of {size} bytes arrives unchanged, in both directions\n"
            in said
        )
    assert f"\ntwo network namespaces, made as {who}\n" in said
    for version in ("IPv4", "IPv6"):
        assert f"{version} ping: 20 answers" in said
        assert re.search(rf"{version} UDP: \d+ datagrams .* arrived unchanged, both ways", said)
        assert f"{version} TCP: 12 MiB each way arrived unchanged" in said
    assert "near end: fp0: stopped by SIGTERM" in said
    assert "far end: fp0: the peer closed the stream" in said
    assert said.count("fp0 has gone\n") == 2
    assert said.endswith("\nit works\n")


def test_it_works_from_a_folder_that_only_root_can_read_and_touches_nothing(tmp_path: Path) -> None:
    before = socket.if_nameindex()
    tmp_path.chmod(0o700)
    shutil.copytree(ROOT / "fethpipe", tmp_path / "fethpipe")
    assert_it_works(run(SELFTEST, cwd=tmp_path), who="root")
    assert socket.if_nameindex() == before


def test_it_works_as_an_ordinary_user() -> None:
    """The user has a Python and a checkout outside of root's folders, and may open the TAP."""
    user = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]
    if run([*user, "unshare", "--user", "--map-root-user", "--net", "true"]).returncode != 0:
        pytest.skip("needs a kernel that lets ordinary users make user namespaces")
    python = Path(sys.executable).resolve().name
    done = run_after(
        f"""
        mount -t tmpfs -o mode=755 tmpfs /mnt
        mkdir /mnt/python /mnt/checkout
        mount --bind '{sys.base_prefix}' /mnt/python
        mount --bind '{ROOT}' /mnt/checkout
        mknod -m 666 /mnt/tun c 10 200
        mount --bind /mnt/tun /dev/net/tun
        cd /mnt/checkout
        """,
        # A Python with a shared library looks for that where it was installed.
        [
            *(*user, "env", "LD_LIBRARY_PATH=/mnt/python/lib"),
            *(f"/mnt/python/bin/{python}", *SELFTEST[1:]),
        ],
    )
    assert_it_works(done, who="an ordinary user")


@pytest.mark.parametrize(
    ("preparation", "launcher", "reason"),
    [
        pytest.param(
            "mount -t tmpfs tmpfs /dev/net",
            [],
            "cannot open /dev/net/tun: ENOENT (No such file or directory); "
            "ask an administrator to load it: modprobe tun",
            id="without the device file",
        ),
        pytest.param(
            "mount -t tmpfs tmpfs /dev/net; mknod -m 000 /dev/net/tun c 10 200",
            POWERLESS,
            "cannot open /dev/net/tun: EACCES (Permission denied); run as root",
            id="without the right to open the device file",
        ),
        pytest.param(
            "",
            [*NO_MORE_NAMESPACES, *POWERLESS],
            "cannot make a network namespace: ENOSPC (No space left on device); run as root",
            id="without user namespaces",
        ),
    ],
)
def test_it_says_what_is_missing(preparation: str, launcher: list[str], reason: str) -> None:
    done = run_after(preparation, [*launcher, *SELFTEST])
    assert done.returncode == 77
    assert "ok " not in done.stdout
    assert done.stderr.startswith(f"fethpipe: {reason}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("module", "defect", "complaint", "reason"),
    [
        pytest.param(
            "tunnel/ready.py",
            "from ..errors import SystemFailureError\n"
            "def open_outputs(*_, **__): raise SystemFailureError('no tunnel today')",
            "end: no tunnel today\n",
            "the near end ended before it was ready",
            id="cannot be made",
        ),
        pytest.param(
            "device/tap.py",
            "TapDevice.write_frames = lambda self, frames: None",
            "differs        a frame of 60 bytes arrives unchanged, in both directions; here: "
            "lost towards the IP stack\n",
            "frames do not pass through the TAP unchanged",
            id="loses what it sends",
        ),
        pytest.param(
            "system/stream.py",
            "Stream.write = lambda self, data: b''",
            "end: fp0: stopped by SIGTERM",
            "IPv4 ping: timed out",
            id="loses all frames",
        ),
    ],
)
def test_it_fails_when_the_tunnel(
    tmp_path: Path, module: str, defect: str, complaint: str, reason: str
) -> None:
    shutil.copytree(ROOT / "fethpipe", tmp_path / "fethpipe")
    hasty = 'receive.__kwdefaults__["seconds"] = PATIENCE_SECONDS = 0.05'
    for name, line in (
        (module, defect),
        ("selftest/frames.py", hasty),
        ("selftest/cable_linux.py", "_BUDGET_SECONDS = 2.0"),
    ):
        source = tmp_path / "fethpipe" / name
        source.write_text(f"{source.read_text()}\n\n{line}\n")
    done = run(SELFTEST, cwd=tmp_path)
    assert done.returncode == 71
    assert complaint in done.stdout
    assert "it works" not in done.stdout
    assert done.stderr == f"fethpipe: {reason}\n"


def test_json_is_all_there_is_on_stdout_and_root_needs_no_privileges() -> None:
    done = run([*POWERLESS, *SELFTEST, "--json"])
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["works"] is True
    assert told["error"] is None
    assert told["machine"]["fethpipe"] == __version__
    assert {fact["outcome"] for fact in told["facts"]} == {"ok"}
    assert {"name": "size 14", "seen": ""}.items() <= told["facts"][0].items()
    assert "two network namespaces, made as an ordinary user" in told["steps"]
    assert any(step.startswith("IPv4 ping: 20 answers") for step in told["steps"])


def test_json_tells_a_failure_as_well() -> None:
    done = run([*NO_MORE_NAMESPACES, *POWERLESS, *SELFTEST, "--json"])
    told = json.loads(done.stdout)
    assert done.returncode == 77
    assert told["works"] is False
    assert f"fethpipe: {told['error']}\n" == done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_nothing_of_it_outlives_a_signal(number: signal.Signals) -> None:
    assert end_by_signal(SELFTEST, b"near end: fp0 is up", number) == -number
