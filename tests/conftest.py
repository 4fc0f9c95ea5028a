"""What tests share asserts as well as they do: pytest shows the values there too."""

from __future__ import annotations

from pathlib import Path

import pytest

_SHARED = [path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("test_")]
pytest.register_assert_rewrite(*_SHARED)
