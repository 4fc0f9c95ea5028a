"""What tests share asserts as well as they do: pytest shows the values there too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_SHARED = [f"tests.support.{path.stem}" for path in (Path(__file__).parent / "support").glob("*.py")]
# No number may depend on the kind of CPU: what "auto" means on one is measured. Workers inherit this.
os.environ["JOULETUNE_CPU_PRECISION"] = "fp32"
if "PYTEST_XDIST_WORKER" in os.environ:  # threads of two processes wait for each other: 595 s, not 269
    os.environ.setdefault("OMP_NUM_THREADS", "1")
pytest.register_assert_rewrite(*_SHARED)
# Nor on its speed: by default an example may take 200 ms, and inputs must be made fast.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
