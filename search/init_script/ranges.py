"""What a flag means to a search: a hyperparameter with a range, a placeholder of the command, or neither.

Only flags with telling names get a range, and each range lies around the script's own default, which is the
first trial. Learning rates are searched over decades (Bengio 2012, "Practical recommendations for
gradient-based training", section 3), batch sizes by powers of two.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from search.init_script.flag import Flag

# Patterns for the last part of a name, dashes and underscores alike: `optimizer.lr`, `--weight-decay`,
# `learning_rate`.
_PLACES = {
    "epochs": r"(num_?)?(train_?)?epochs|max_?epochs|n_?epochs|num_epoch|epoch",
    "seed": r"(random_?|manual_?)?seed",
    # The path of a checkpoint is usually one to load, as Lightning's --ckpt_path; its folder is written to.
    "checkpoint_dir": r"(out(put)?|save|log|default_root|work|run|project)_?(dir|folder|path|directory)?"
    r"|(checkpoint|ckpt|model)s?_?(dir|folder|directory)",
}
_FOLDER = re.compile(r"dir|folder|path|out|project|save|ckpt|checkpoint|root")


@dataclass(frozen=True, kw_only=True)
class Range:
    """One parameter of a space.

    Attributes:
        entry: Its YAML as plain data: `{distribution: ..., min: ..., max: ...}` or `{values: [...]}`.
        reason: Why this range, for a comment.
    """

    entry: dict[str, Any]
    reason: str


def place_of(flag: Flag) -> str | None:
    """Return the placeholder of the command that a flag is for; None if it is for none."""
    name = _plain_name(flag)
    if not flag.spelled:
        return None
    for place, pattern in _PLACES.items():
        if re.fullmatch(pattern, name) and _may_be(place, flag):
            return place
    return None


def _may_be(place: str, flag: Flag) -> bool:
    if place == "checkpoint_dir":
        return (
            flag.kind in ("", "str", "Path") and not flag.choices and bool(_FOLDER.search(_plain_name(flag)))
        )
    return flag.kind in ("", "int", "float") and not isinstance(flag.default, bool)


def range_of(flag: Flag) -> Range | None:
    """Return the range of a flag with a telling name; None if it is left as it is."""
    name, default = _plain_name(flag), flag.default
    if isinstance(default, bool) or flag.kind == "bool" or not flag.spelled:
        return None
    is_numeric = default is None or is_number(default)  # not a list of rates, nor one for each layer
    for pattern, make in _RANGES:
        is_fit = is_numeric or make is _choices
        if is_fit and re.fullmatch(pattern, name) and (found := make(flag)) is not None:
            return found
    return None


def default_of(flag: Flag) -> Any:
    """Return the script's default of a flag that has a range, or if there is none, a value in the range."""
    found = range_of(flag)
    if flag.default is not None or found is None:
        return flag.default
    values = found.entry.get("values")
    if values:
        return values[len(values) // 2]
    low, high = found.entry["min"], found.entry["max"]
    return _decade(math.sqrt(low * high)) if low > 0 else (low + high) / 2


def _plain_name(flag: Flag) -> str:
    return re.split(r"[./]", flag.name)[-1].replace("-", "_").lower()


def _rate(flag: Flag) -> Range | None:
    value = flag.default if is_number(flag.default) and flag.default > 0 else None
    if value is None:
        return Range(entry=_log(1e-5, 1e-1), reason="no default is known: the usual range")
    return Range(
        entry=_log(_decade(value / 100), _decade(value * 10)),
        reason="two decades below the default, one above",
    )


def _decay(flag: Flag) -> Range | None:
    if is_number(flag.default) and flag.default < 0:  # a mark, such as -1 for "by the model"
        return None
    if not is_number(flag.default) or flag.default == 0:
        return Range(entry={"values": [0, 1e-5, 1e-4, 1e-3, 1e-2]}, reason="the default, none, and decades")
    return Range(
        entry=_log(_decade(flag.default / 100), _decade(flag.default * 100)),
        reason="two decades on each side",
    )


def _batch(flag: Flag) -> Range | None:
    if not is_number(flag.default) or flag.default < 1:
        return None
    around = {max(1, int(flag.default * factor)) for factor in (0.25, 0.5, 1, 2, 4)}
    return Range(
        entry={"values": sorted(around)}, reason="powers of two around the default; memory sets the top"
    )


def _fraction(low: float, high: float) -> Callable[[Flag], Range | None]:
    def make(flag: Flag) -> Range | None:
        default = flag.default if is_number(flag.default) else low
        if default < 0:  # a mark, as above
            return None
        return Range(
            entry={"min": min(low, float(default)), "max": max(high, float(default))},
            reason="usual values" if low <= default <= high else "usual values and the default",
        )

    return make


def _counts(flag: Flag) -> Range | None:
    """Return powers of two of a rank or a width around the default."""
    if not is_number(flag.default) or flag.default < 1 or flag.default != int(flag.default):
        return None
    around = {max(1, int(flag.default * factor)) for factor in (0.25, 0.5, 1, 2, 4)}
    return Range(entry={"values": sorted(around)}, reason="powers of two around the default")


def _choices(flag: Flag) -> Range | None:
    if not 2 <= len(flag.choices) <= 12 or flag.default not in flag.choices:
        return None
    return Range(entry={"values": list(flag.choices)}, reason="all that the script allows")


_RANGES: tuple[tuple[str, Callable[[Flag], Range | None]], ...] = (
    (r"(base_|init_|initial_|max_|peak_|learning_?)?(lr|rate|learning_rate)(0|_init)?|lr0", _rate),
    (r"(weight_?)?decay|wd|weight_decay|alpha_l2|l2", _decay),
    (r"((per_device_)?train_)?batch(_?size)?|bs|per_device_batch_size", _batch),
    (
        r"(drop_?out|drop|drop_path|attn_drop|hidden_dropout)(_(prob|rate|path_rate))?|p_drop|lora_dropout",
        _fraction(0.0, 0.5),
    ),
    (r"momentum", _fraction(0.8, 0.99)),
    (r"(label_)?smoothing(_factor)?", _fraction(0.0, 0.2)),
    (r"mixup(_alpha)?", _fraction(0.0, 0.8)),
    (r"warmup_(ratio|frac|fraction)", _fraction(0.0, 0.2)),
    (r"(lora_)?(r|rank)|lora_alpha|hidden(_(size|dim|units))?|width", _counts),
    (r"opt(im(izer)?)?|sched(uler)?|lr_scheduler(_type)?|activation", _choices),
)


def _log(low: float, high: float) -> dict[str, Any]:
    return {"distribution": "log_uniform_values", "min": low, "max": high}


def _decade(value: float) -> float:
    """Return the value rounded to two significant digits, for readability."""
    digits = 1 - math.floor(math.log10(value))
    return round(value, digits)


def is_number(value: Any) -> bool:
    """Whether a value is a number, and neither NaN nor infinite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def unrecognised(flags: Iterable[Flag]) -> list[Flag]:
    """Return the flags that have neither a placeholder nor a range."""
    return [flag for flag in flags if place_of(flag) is None and range_of(flag) is None]
