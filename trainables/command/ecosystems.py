"""Scores and checkpoints of scripts from known ecosystems. Plain data, standard library only.

By default a script prints lines of JSON. The other kinds are what training scripts already produce: wandb
logs, a CSV file, a file of JSON lines, TensorBoard events, and the state saved by Hugging Face's trainer. All
are structured: nothing is parsed from prose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainables.core.suggest import suggest

_FOLDER = "{checkpoint_dir}"
# The files of a kind if the space names none: all of that kind below the trial's own folder.
_FILES = {
    "csv": f"{_FOLDER}/**/*.csv",
    "jsonl": f"{_FOLDER}/**/*.jsonl",
    "tensorboard": f"{_FOLDER}/**/*tfevents*",
    "trainer_state": f"{_FOLDER}/**/trainer_state.json",
}
# Arguments with which an ecosystem's own script resumes from the checkpoints that it saves.
RESUMES = {
    "lightning": ("--ckpt_path", "{newest:**/*.ckpt}"),  # LightningCLI, ModelCheckpoint
    "huggingface": ("--resume_from_checkpoint", "{newest:checkpoint-*}"),  # TrainingArguments.output_dir
    "ultralytics": ("resume=True", "model={newest:**/weights/last.pt}"),
    "timm": ("--resume", "{newest:**/last.pth.tar}"),
}
KINDS = ("lines", "wandb", *_FILES)
_KEYS = {
    "lines": (),
    "wandb": ("epoch", "metric", "real", "lines"),
    "tensorboard": ("file", "epoch", "tag"),
    **dict.fromkeys(("csv", "jsonl", "trainer_state"), ("file", "epoch", "metric")),
}

_SWITCHES = ("real", "lines")
_ATTRIBUTES = {"tag": "metric", "lines": "has_lines"}  # attributes of keys with another name


@dataclass(frozen=True, kw_only=True)
class MetricsSpec:
    """Where scores are read from.

    Attributes:
        kind: One of `KINDS`.
        file: A pattern such as `{checkpoint_dir}/**/results.csv`; empty if scores are printed or logged.
        epoch: The column or key that counts epochs; for TensorBoard, `step` or nothing. Rows with the metric
            but no count are epochs in their order.
        metric: The column, key or tag of the metric, if it differs from the metric's name.
        real: Whether the installed wandb is also called.
        has_lines: Whether printed lines of JSON also count.
    """

    kind: str = "lines"
    file: str = ""
    epoch: str = "epoch"
    metric: str = ""
    real: bool = False
    has_lines: bool = False

    @classmethod
    def of(cls, given: Any) -> MetricsSpec:
        """Parse a space's value: the name of a kind, or a mapping of one kind to its settings or its file.

        Raises:
            ValueError: It cannot be parsed; the message says what can be written.
        """
        kind, settings = _kind_and_settings(given)
        if kind not in KINDS:
            raise ValueError(
                f"{kind!r} is not a source of scores; known: {', '.join(KINDS)}{suggest(kind, KINDS)}"
            )
        problems = list(_problems(kind, settings))
        if problems:
            raise ValueError("; ".join(problems))
        plain = {_ATTRIBUTES.get(key, key): value for key, value in settings.items()}
        return cls(kind=kind, **{**_usual(kind), **plain})

    @property
    def plain(self) -> Any:
        """The form in which a space states it."""
        usual = {"metric": "", "real": False, "has_lines": False, **_usual(self.kind)}
        named = {attribute: key for key, attribute in _ATTRIBUTES.items() if key in _KEYS[self.kind]}
        settings = {
            named.get(name, name): getattr(self, name)
            for name, value in usual.items()
            if getattr(self, name) != value
        }
        return {self.kind: settings} if settings else self.kind


def _usual(kind: str) -> dict[str, Any]:
    """The default settings of a kind."""
    return {"file": _FILES.get(kind, ""), "epoch": "" if kind == "tensorboard" else "epoch"}


def resume_arguments(given: Sequence[str]) -> tuple[str, ...]:
    """Return the given arguments, or those of an ecosystem if only its name is given."""
    return RESUMES.get(given[0], tuple(given)) if len(given) == 1 else tuple(given)


def _kind_and_settings(given: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(given, str):
        return given, {}
    if not isinstance(given, Mapping) or len(given) != 1:
        raise ValueError(
            f"write one of {', '.join(KINDS)}, or {{csv: {{file: ..., metric: ...}}}}, got {given!r}"
        )
    ((kind, settings),) = given.items()
    if settings is None:
        return str(kind), {}
    if isinstance(settings, str):
        return str(kind), {
            "tag" if kind == "tensorboard" else "metric" if kind == "wandb" else "file": settings
        }
    if not isinstance(settings, Mapping):
        raise ValueError(f"{kind}: write its settings as a mapping, got {settings!r}")
    return str(kind), dict(settings)


def _problems(kind: str, settings: Mapping[str, Any]) -> list[str]:
    found = []
    for key, value in settings.items():
        if key not in _KEYS[kind]:
            allowed = ", ".join(_KEYS[kind]) or "nothing"
            found.append(f"{kind} takes {allowed}, got {key!r}{suggest(str(key), _KEYS[kind])}")
        elif key in _SWITCHES and not isinstance(value, bool):
            found.append(f"{kind}.{key} must be true or false, got {value!r}")
        elif key == "epoch" and kind == "tensorboard" and value != "step":
            found.append(
                f"tensorboard.epoch is step, where the script logs by epoch, or left out; got {value!r}"
            )
        elif key not in _SWITCHES and not (isinstance(value, str) and value):
            found.append(f"{kind}.{key} must be text, got {value!r}")
    file = settings.get("file")
    if isinstance(file, str) and not file.startswith(_FOLDER):
        # Trials run concurrently: in a shared file, a trial would be scored by another trial's epochs.
        found.append(f"{kind}.file must begin with {_FOLDER}, the trial's own folder, got {file!r}")
    return found
