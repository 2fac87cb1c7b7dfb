"""What somebody does who has taken over the pump of a running tunnel.

The attacker's code runs in the pump itself from the moment that it reads the first bytes of its
peer: the parser of the stream is replaced. What it needs is loaded before, as shellcode would bring
it along. For each thing that it tries it says on stderr what came of it.
"""

from __future__ import annotations

from tests.ctl.running import Running
from tests.live.programs import Fethpipe

BEFORE = """
import ctypes, ctypes.util, errno, fcntl, glob, json, os, resource, signal, socket, struct
import subprocess, sys, termios, time
libc = ctypes.CDLL(None, use_errno=True)

def tried(name, attempt):
    try:
        result = attempt()
    except OSError as error:
        result = errno.errorcode.get(error.errno, error)
    except BaseException as error:
        result = repr(error)
    os.write(2, f"stolen: {name}: {result}\\n".encode())

def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), "syscall")
    return result

def done(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "call")
    return result

def everywhere(name, attempt):
    "Try something with each descriptor; one that it works with is enough."
    results = set()
    for descriptor in range(64):
        try:
            results.add(f"done, {attempt(descriptor)!r}")
        except OSError as error:
            results.add(errno.errorcode.get(error.errno, repr(error)))
    worked = [result for result in results if result.startswith("done")]
    results -= {"EBADF"}
    os.write(2, f"stolen: {name}: {(worked or sorted(results))[0]}\\n".encode())

number = {name: numbers[os.uname().machine == "aarch64"] for name, numbers in {
    "clone": (56, 220), "ptrace": (101, 117), "mount": (165, 40), "unshare": (272, 97),
    "process_vm_readv": (310, 270), "io_uring_setup": (425, 425), "bpf": (321, 280),
}.items()}
"""
_STEAL = """
def steal(*arguments):
    exec(ATTACK, globals())
    os.write(2, b"stolen: the end\\n")
    while True:
        time.sleep(1)

"""
PUMP = """
from fethpipe.wire.connection import Connection
Connection.receive = steal
from fethpipe.cli import main
sys.exit(main())
"""
FETHCTL = """
import fethpipe.ctl.traffic
fethpipe.ctl.traffic.describe_frame = steal
from fethpipe.ctl.cli import main
sys.exit(main())
"""


def stolen(attack: str, victim: str = PUMP) -> list[str]:
    """Return the arguments of Python for a program that does this when it parses what it is sent:
    a fethpipe with the bytes of its peer, or a fethctl that shows frames.
    """
    return ["-c", f"{BEFORE}\nATTACK = {attack!r}\n{_STEAL}\n{victim}"]


def outcome(program: Fethpipe | Running) -> dict[str, str]:
    """Return what came of each thing that the attacker tried."""
    results: dict[str, str] = {}
    while True:
        line = program.stderr.next(containing="stolen: ")
        assert line, f"the pump has ended: {program.stderr.all()}"
        name, _, result = line[len("stolen: ") :].partition(": ")
        if name == "the end":
            return results
        results[name] = result
