"""Fixtures of all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared" / "data"  # files of other authors, where present


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with data files of other authors; tests that need it are skipped without it."""
    if not SHARED.is_dir():
        pytest.skip(f"there are no data files of other authors in {SHARED}")
    return SHARED
