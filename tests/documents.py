"""The documents, and the blocks in them that tests run: a comment in front of each names it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


class Document:
    """A page of the project."""

    def __init__(self, path: str) -> None:
        self.text = (ROOT / path).read_text()

    def block(self, kind: str, name: str) -> str:
        """Return what is in a block: a recipe, a file, an example or an output."""
        pattern = rf"<!-- {kind}: {re.escape(name)} -->\n```\w*\n(.*?)```"
        found = re.findall(pattern, self.text, re.DOTALL)
        assert len(found) == 1, f"there are {len(found)} blocks named {name}"
        return str(found[0])

    def recipe(self, name: str) -> str:
        """Return the commands of a recipe."""
        return self.block("recipe", name)
