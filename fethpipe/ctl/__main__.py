"""``python3 -m fethpipe.ctl``."""

import signal
import sys

# Ctrl-C during the imports ends us as it ends any program, without a traceback.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from .cli import main

sys.exit(main())
