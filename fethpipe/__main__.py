"""``python3 -m fethpipe``."""

import sys

from .cli import main

sys.exit(main())
