"""``python3 -m fethpipe``."""

import signal
import sys

# Ctrl-C during the imports ends us as it ends any program, without a traceback.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

try:
    from .cli import main
except (OSError, MemoryError) as error:
    sys.stderr.write(f"fethpipe: cannot load the program: {error!r}\n")
    sys.exit(71)

sys.exit(main())
