"""Build Apple's networking code of one release into a shared library, once for each user.

Apple's files are compiled whole, with their own headers, and linked into one object. Every name in
it gets the prefix ``xnu_``; what is left undefined then is looked for in this order: `host.c`, the
C library, a function that returns 0, data that is 0. `kernel/` is all that is ours.
"""

from __future__ import annotations

import concurrent.futures
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.xnu.releases import Release, unpack

_OURS = Path(__file__).parent / "kernel"

_INCLUDED = ("bsd", "osfmk", "libkern", "EXTERNAL_HEADERS", "bsd/sys", "iokit", "security")
_INCLUDED_LAST = ("pexpert", "osfmk/libsa", ".")
# Headers that Apple's build makes, or is without: they say that there are such devices.
_DEVICES = ("bond", "bpf", "bpfilter", "bridge", "dummy", "ether", "fake", "gif", "loop", "ndrv")
_MORE_DEVICES = ("stf", "vlan")

# Functions of the kernel that the C library has, and how it calls them.
_FROM_C = {
    **{name: name for name in ("memcpy", "memmove", "memset", "memcmp", "bcmp", "bzero", "ffs")},
    **{name: name for name in ("strlen", "strnlen", "strcmp", "strncmp", "snprintf")},
    **{f"__{name}_chk": name for name in ("memcpy", "memmove", "memset")},
}
# Functions that are only ever pointed to, so that the linker cannot tell them from data.
_FUNCTION = re.compile(
    r"(_startup_init|tunable_init|tunable_dt_init|_handler|enodev|enodev_strat"
    r"|ether_(at|de)tach_inet6?|sysctl_handle_\w+|_func|_input|_output)$"
)


def library(source: Path, release: Release) -> Path:
    """Return the library of a release, from the cache if an earlier run built the same.

    Raises RuntimeError with what a compiler said.
    """
    folder = _cache() / f"xnu-{release.number}-{_digest(source, release)}"
    built = folder / "xnu.so"
    with (_cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one run builds, others wait for it
        if not built.exists():
            with tempfile.TemporaryDirectory(dir=_cache()) as work:
                _Build(Path(work), release).run(source)
                (Path(work) / "done").rename(folder)
    return built


def _cache() -> Path:
    """Return a folder that nobody else can write to."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "fethpipe-tests"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _digest(source: Path, release: Release) -> str:
    digest = hashlib.sha256()
    for path in [Path(__file__), *sorted(_OURS.rglob("*.*"))]:
        digest.update(path.read_bytes())
    # An archive may change; a tag of Apple's does not.
    digest.update(release.tag.encode() if source.is_dir() else source.read_bytes())
    return digest.hexdigest()[:16]


def _listed(name: str, section: str) -> list[str]:
    """Return the lines of one of our lists that have no section, and those of one section."""
    lines: dict[str, list[str]] = {"": []}
    current = ""
    for line in (_OURS / name).read_text().splitlines():
        if line.startswith("["):
            current = line.strip("[]")
            lines[current] = []
        elif line and not line.startswith("#"):
            lines[current].append(line)
    return lines[""] + (lines[section] if section else [])


class _Build:
    def __init__(self, work: Path, release: Release) -> None:
        self._work = work
        self._release = release
        self._sources = work / "apple"
        self._old = release.number == 4570  # before Skywalk, and memory without types

    def run(self, source: Path) -> None:
        unpack(source, self._release, self._sources)
        for name in ("made", "objects", "done"):
            (self._work / name).mkdir()
        self._make_headers()
        listed = _listed("files.txt", str(self._release.number))
        files = [self._sources / each for each in listed]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(self._compile, [_OURS / "kernel.c", *files]))
        self._link()

    # ---- compiling ----

    def _make_headers(self) -> None:
        """Make the headers that are missing: Apple's build generates them, or moves them."""
        made = self._work / "made"
        for name in _DEVICES + _MORE_DEVICES:
            (made / f"{name}.h").write_text(f"#define N{name.upper()} 4\n")
        for folder in ("mach", "sys", "skywalk", "san"):
            (made / folder).mkdir()
        (made / "sys/sysproto.h").touch()
        for name in self._message_interfaces():
            if not (self._sources / "osfmk/mach" / name).exists():
                (made / "mach" / name).touch()
        for folder, name in (("bsd/skywalk", "skywalk"), ("san", "san")):
            for header in (self._sources / folder).rglob("*.h"):
                if not (self._sources / folder / header.name).exists() or name == "san":
                    link = made / name / header.name
                    link.unlink(missing_ok=True)
                    link.symlink_to(header)

    def _message_interfaces(self) -> set[str]:
        names = {"clock.h", "clock_priv.h", "host_priv.h", "mach_host.h", "mach_port.h"}
        names |= {"task.h", "thread_act.h", "vm_map.h"}
        osfmk = self._sources / "osfmk"
        for header in [osfmk / "mach/mach_interface.h", *(osfmk / "kern").glob("*.h")]:
            if header.exists():
                text = header.read_text(errors="replace")
                names.update(re.findall(r"#include <mach/([a-z_]+\.h)>", text))
        return names

    def _compile(self, source: Path) -> None:
        defined = _listed("defines.txt", "" if self._old else "Skywalk")
        defined.append(f"XNU={self._release.number}")
        ours = [] if self._old else [_OURS / "include"]
        folders = [
            *ours,
            self._work / "made",
            *(self._sources / each for each in _INCLUDED + _INCLUDED_LAST),
        ]
        first = [_OURS / "prelude.h", *self._included_first(source.name)]
        self._run(
            "clang -target x86_64-unknown-linux-gnu -nostdlibinc -ffreestanding -fno-builtin",
            "-fblocks -std=gnu11 -w -O0 -fPIC -fno-stack-protector -ffunction-sections",
            "-fdata-sections -c -o",
            self._work / "objects" / f"{source.stem}.o",
            source,
            *(f"-D{name}" if "=" in name else f"-D{name}=1" for name in defined),
            *(f"-include{header}" for header in first),
            *(f"-I{folder}" for folder in folders),
        )

    def _included_first(self, name: str) -> list[str]:
        """Headers that a file has from elsewhere in Apple's build."""
        first = [] if self._old else ["kern/thread_call.h"]
        if name == "uipc_socket2.c" and not self._old:
            first.append("os/log.h")
        if name == "flowadv.c" and self._old:
            first += ["net/route.h", "netinet/in.h"]
        return first

    # ---- linking ----

    def _link(self) -> None:
        kernel, host, rest = (self._work / f"{name}.o" for name in ("kernel", "host", "rest"))
        objects = sorted((self._work / "objects").glob("*.o"))
        self._run("ld -r -z muldefs -o", self._work / "all.o", *objects)
        # Tables that the linker gathers, under names that it makes symbols for.
        tables = [
            f"--rename-section=__{segment},__{theirs}={ours}"
            for segment in ("DATA", "KLDDATA")
            for theirs, ours in (("init_entry_set", "xnu_startup"), ("sysctl_set", "xnu_sysctls"))
        ]
        self._run("objcopy --prefix-symbols=xnu_", *tables, self._work / "all.o", kernel)
        self._run("objcopy", *(f"--redefine-sym={old}={new}" for old, new in _TABLE_ENDS), kernel)
        self._run("cc -c -fPIC -O1 -w -o", host, _OURS / "host.c")
        assembler = self._work / "rest.s"
        assembler.write_text(self._rest(kernel, host))
        self._run("cc -c -o", rest, assembler)
        self._run(
            "cc -shared -pthread -Wl,-z,noexecstack -o",
            self._work / "done/xnu.so",
            kernel,
            host,
            rest,
        )

    def _rest(self, kernel: Path, host: Path) -> str:
        """Return assembler for every symbol that neither Apple's code nor ours defines."""
        defined = set(self._run("nm --defined-only -j", host).split())
        missing = set(self._run("nm -u -j", kernel).split()) - defined
        called = set(re.findall(r"R_X86_64_PLT32\s+\S+\s+(\S+)", self._run("readelf -rW", kernel)))
        lines = []
        for symbol in sorted(each for each in missing if each.startswith("xnu_")):
            name = symbol[len("xnu_") :]
            if name in _FROM_C:
                lines.append(_FUNCTION_LINES.format(symbol, f"jmp {_FROM_C[name]}@PLT"))
            elif symbol in called or _FUNCTION.search(symbol):
                lines.append(_FUNCTION_LINES.format(symbol, "xor %eax, %eax; ret"))
            else:
                lines.append(_DATA_LINES.format(symbol))
        return "".join(lines)

    def _run(self, *parts: str | Path) -> str:
        argv = [
            word
            for part in parts
            for word in (part.split() if isinstance(part, str) else [str(part)])
        ]
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"cannot build {self._release.tag}: {done.stderr[:2000]}")
        return done.stdout


_FUNCTION_LINES = '.text\n.globl "{0}"\n.type "{0}",@function\n"{0}": {1}\n'
_DATA_LINES = '.bss\n.balign 64\n.globl "{0}"\n.type "{0}",@object\n"{0}": .zero 4096\n'
_TABLE_ENDS = (
    ("xnu_first_startup", "__start_xnu_startup"),
    ("xnu_end_of_startup", "__stop_xnu_startup"),
    ("xnu_first_sysctl", "__start_xnu_sysctls"),
    ("xnu_end_of_sysctls", "__stop_xnu_sysctls"),
)


def missing_tool() -> str | None:
    """Return what this machine lacks to build and run Apple's code, for a test's skip message."""
    if os.uname().sysname != "Linux" or os.uname().machine != "x86_64":
        return "Apple's code runs only on Linux on an x86-64 processor here"
    for tool in ("clang", "cc", "ld", "objcopy", "readelf", "nm"):
        if shutil.which(tool) is None:
            return f"Apple's code needs {tool} to be built"
    return None
