#!/usr/bin/env python3
"""Pack the program into one file that any Python from 3.9 up runs: make_pyz.py [FILE]."""

from __future__ import annotations

import shutil
import sys
import tempfile
import zipapp
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "fethpipe"

MAIN = "import sys\nfrom fethpipe.__main__ import main\nsys.exit(main())\n"


def main() -> None:
    """Write the file."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "fethpipe.pyz")
    with tempfile.TemporaryDirectory() as folder:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PACKAGE, Path(folder, PACKAGE.name), ignore=ignored)
        Path(folder, "__main__.py").write_text(MAIN)
        zipapp.create_archive(folder, target, interpreter="/usr/bin/env python3", compressed=True)
    target.chmod(0o755)


if __name__ == "__main__":
    main()
