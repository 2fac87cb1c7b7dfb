"""``python3 -m fethpipe.ctl``."""

import signal
import sys

# Ctrl-C while modules are loaded ends us like any other program, without a traceback.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from .cli import main

sys.exit(main())
