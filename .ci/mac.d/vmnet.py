"""Start vmnet interfaces in the modes that need no other network, and tell what macOS gave."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

from ends import started

RANGE = (
    *("--vmnet-start", "192.168.211.1", "--vmnet-end", "192.168.211.100"),
    *("--vmnet-mask", "255.255.255.0"),
)


def main() -> None:
    """Start each twice: the second one shows what stays the same."""
    for options in (("host",), ("shared",), ("shared", *RANGE)):
        first, second = (_start(*options) for _ in range(2))
        if first["vmnet"]["mode"] != options[0]:
            sys.exit(f"asked for {options[0]} mode, got {first['vmnet']['mode']}")
        if len(options) > 1 and first["vmnet"]["start_address"] != RANGE[1]:
            sys.exit(f"asked for {RANGE[1]}, got {first['vmnet']['start_address']}")
        same = "the same MAC" if first["mac"] == second["mac"] else "ANOTHER MAC"
        print(f"{options[0]} mode, started again: {same}", flush=True)


def _start(mode: str, *options: str) -> dict[str, Any]:
    with started("--device", "vmnet", "--vmnet-mode", mode, *options) as end:
        facts = end.ready()
        print(json.dumps(facts), flush=True)
        print(subprocess.run(["ifconfig"], capture_output=True, text=True, check=False).stdout)
        status = end.stop(signal.SIGTERM)
        print(end.said(), flush=True)
    if status != 0:
        sys.exit(f"{mode} mode ended with {status}")
    return facts


if __name__ == "__main__":
    main()
