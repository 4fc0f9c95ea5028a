"""A flag of a training script, as plain data that crosses from the script's Python into this one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One option of a script.

    Attributes:
        name: Without dashes, as its help has it: `lr`, `weight-decay`, `optimizer.lr`.
        spelled: How it is given: `--lr`; `lr=` where the script takes words such as Hydra's; for true and
            false `--amp/--no-amp`; empty of a word that stands alone.
        default: The script's own; None where it has none, or where it is no plain value.
        kind: "int", "float", "str", "bool", or "" where it is not known.
        choices: What it allows; empty where that is anything.
        help: Its own words.
        is_required: The script ends without it.
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
        """From what `capture.py` wrote."""
        return cls(**{**plain, "choices": tuple(plain.get("choices") or ())})
