"""The simulated Mac."""

from __future__ import annotations

from tests.darwin.conftest import darwin, namespace, nobody, release

__all__ = ["darwin", "namespace", "nobody", "release"]
