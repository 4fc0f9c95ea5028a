"""A flag of a training script, as plain data that crosses from the script's Python into this one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One option of a script.

    Attributes:
        name: Name without dashes, as in its help: `lr`, `weight-decay`, `optimizer.lr`.
        spelled: How it is given: `--lr`; `lr=` if the script takes words like Hydra's; `--amp/--no-amp` for
            true and false; empty for a positional.
        default: The script's default; None if it has none, or no plain value.
        kind: "int", "float", "str", "bool", or "" if unknown.
        choices: Values that it allows; empty if it allows any.
        help: Its help text.
        is_required: The script fails without it.
    """

    name: str
    spelled: str
    default: Any = None
    kind: str = ""
    choices: tuple[Any, ...] = field(default=())
    help: str = ""
    is_required: bool = False

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Flag:
        """Return the flag that `capture.py` wrote."""
        return cls(**{**plain, "choices": tuple(plain.get("choices") or ())})
