"""``python3 -m fethpipe``, and the start of the program that pip installs."""

import signal
import sys


def main() -> int:
    """Load fethpipe and run it. Return its exit status; 71 if Python cannot load it."""
    # Ctrl-C during the imports ends us as it ends any program, without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from .cli import main as run  # noqa: PLC0415 - it may fail
    except Exception as error:  # noqa: BLE001 - without memory Python raises any of them
        sys.stderr.write(f"fethpipe: cannot load the program: {error!r}\n")
        return 71
    return run()


if __name__ == "__main__":
    sys.exit(main())
