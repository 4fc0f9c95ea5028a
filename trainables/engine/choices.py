"""Names that a space may give to the engine. No torch here: spaces are checked without it."""

from __future__ import annotations

from typing import Literal

ScheduleName = Literal["cosine", "step", "plateau", "one_cycle", "none"]
AugmentName = Literal["none", "light", "strong"]

AUGMENT_STRENGTHS: dict[AugmentName, float] = {"none": 0.0, "light": 0.5, "strong": 1.0}
