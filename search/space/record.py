"""A run's record of its trainable, as data, so that reading the run imports nothing that it names."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import keyword
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from search.space.parameters import Choice, Edge, Normal, Parameter, beyond, is_number, middle
from search.space.space import Space
from search.space.yaml_file import of_python
from trainables.core.contract import Measure, MetricScale, Mode, Trainable, UnknownTrainable
from trainables.core.load import TrainableRef

RECORD = "trainable.json"  # beside space.yaml
COPIES = "trainable"  # folder of copies of the files that were trained; they are never run from there


class RecordError(UnknownTrainable):
    """A run's record of its trainable cannot be used; the message says what to do."""


def _identifier(name: str) -> str:
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f"{name!r} cannot be the name of a hyperparameter")
    return name


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RecordedFile(_Part):
    """A user's own file as it was trained.

    Attributes:
        copy_name: Name of its copy in `COPIES`.
    """

    path: str
    sha256: str
    copy_name: str


class RecordedHparam(_Part):
    """A hyperparameter as the trainable declares it.

    Attributes:
        kind: Type of its values as JSON Schema; None where that cannot express it.
        refused_from: Values beyond the space's range that the trainable refused: the range cannot be widened
            that far.
    """

    default: Any
    kind: dict[str, Any] | None = None
    refused_from: dict[Edge, float | int] = {}


class RecordedScale(_Part):
    """`MetricScale` as JSON."""

    low: float | None
    high: float | None
    kind: Literal["mean", "spearman", "pearson", "kendall", "other"]
    guessing: float | None


class RecordedMeasure(_Part):
    """`Measure` as JSON."""

    mode: Mode
    unit: str


class TrainableRecord(_Part):
    """What a `Trainable` declares besides code, and where its code was.

    Attributes:
        trainable: `Space.trainable` as text.
        file: None for a trainable that comes with the program.
        measures: Empty in records of versions that had none.
    """

    schema_number: Literal[1] = 1
    trainable: str
    file: RecordedFile | None
    metric: str
    mode: Mode
    hparams: dict[Annotated[str, AfterValidator(_identifier)], RecordedHparam]
    scales: dict[str, RecordedScale]
    measures: dict[str, RecordedMeasure] = {}
    scored_unit: str
    resolution_unit: str
    no_effect_anytime: list[str]
    has_test: bool

    def as_trainable(self) -> Trainable:
        """A trainable for reading a space, with hparams that accept what is recorded; it cannot train."""
        return Trainable(
            hparams=_made_hparams(self.hparams),
            metric=self.metric,
            mode=self.mode,
            start=_cannot_train,
            scales={name: MetricScale(**scale.model_dump()) for name, scale in self.scales.items()},
            measures={name: Measure(**each.model_dump()) for name, each in self.measures.items()},
            scored_unit=self.scored_unit,
            resolution_unit=self.resolution_unit,
            no_effect_anytime=tuple(self.no_effect_anytime),
            has_test=self.has_test,
            is_data_parallel=True,  # preflight asks the trainable itself before it trains
        )


def recorded_trainable(folder: Path, space: Space) -> Trainable:
    """The trainable of the run in `folder`, whose space has been read, as its record describes it.

    Raises:
        RecordError: As for `RecordReader.trainable`.
    """
    hparams = (*space.parameters, *space.fixed)
    reader = RecordReader(
        folder=folder, written=str(space.trainable), metric=space.metric, mode=space.mode, hparams=hparams
    )
    return reader.trainable(space.trainable)[0]


def record_of(space: Space, trainable: Trainable) -> TrainableRecord:
    """The record of the trainable of `space`; tries which values just beyond the ranges it refuses."""
    path = space.trainable.path
    return TrainableRecord(
        trainable=str(space.trainable),
        file=None if path is None else _recorded_file(path),
        metric=trainable.metric,
        mode=trainable.mode,
        hparams=_recorded_hparams(space, trainable),
        scales={name: RecordedScale(**dataclasses.asdict(scale)) for name, scale in trainable.scales.items()},
        measures={
            name: RecordedMeasure(mode=each.mode, unit=each.unit) for name, each in trainable.measures.items()
        },
        scored_unit=trainable.scored_unit,
        resolution_unit=trainable.resolution_unit,
        no_effect_anytime=list(trainable.no_effect_anytime),
        has_test=trainable.has_test,
    )


def digest_of(path: Path) -> str | None:
    """SHA-256 of a file; None where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def is_same_code(folder: Path, before: TrainableRef, now: TrainableRef) -> bool:
    """Whether the run in `folder`, whose trainable was `before`, was trained with the code that `now` means.

    A user's file may have moved, if its content is what the run recorded.

    Raises:
        RecordError: The record is damaged.
    """
    if before == now:
        return True
    there, here = before.path, now.path
    if there is None or here is None:
        return False
    record = read_record(folder)
    digest = record.file.sha256 if record and record.file else digest_of(there)
    return digest is not None and digest == digest_of(here)


def read_record(folder: Path) -> TrainableRecord | None:
    """The record of the run in `folder`; None where there is none, as in runs of earlier versions.

    Raises:
        RecordError: It is damaged, or of a later version.
    """
    path = folder / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        number = content.get("schema_number") if isinstance(content, dict) else None
        if isinstance(number, int) and number > 1:
            raise RecordError(
                f"{path} was written by a later version of this program (schema {number}): update the program"
            )
        return TrainableRecord.model_validate(content)
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        reason = f"{where}: {first['msg']}"
    except OSError as error:
        reason = error.strerror or str(error)
    except (ValueError, RecursionError) as error:
        reason = f"it is not JSON: {error}"
    raise RecordError(f"{path} is damaged ({reason}); {_REMEDY}")


_REMEDY = (
    "put it back; or move it away, and what it recorded (the metric's range, units) counts as unknown; "
    "the run writes it again when it resumes"
)


@dataclass(frozen=True, kw_only=True)
class RecordReader:
    """Replaces importing a run's trainable: `load_space` asks it what the name means.

    Attributes:
        folder: The run's folder.
        written: What its space.yaml names as the trainable.
        metric: The metric in space.yaml, for a run without a record.
        hparams: The names of the parameters in space.yaml.
    """

    folder: Path
    written: str
    metric: str | None
    mode: Mode | None
    hparams: tuple[str, ...]

    def trainable(self, reference: TrainableRef) -> tuple[Trainable, list[str]]:
        """The trainable that `reference` means in the run, and notices of what is unknown about it.

        Raises:
            RecordError: The record is damaged, of another trainable, or missing with nothing to replace it.
            UnknownTrainable: The program has no such trainable.
        """
        if reference.command is not None:  # the space describes it completely, as data
            return reference.load(), []
        record = read_record(self.folder)
        if record is not None and record.trainable not in (str(reference), self.written):
            raise RecordError(
                f"{self.folder / RECORD} describes {record.trainable}, but the run's space.yaml names "
                f"{reference}: they are not from the same run; {_REMEDY}"
            )
        if record is not None:
            return record.as_trainable(), []
        if reference.path is None:  # comes with the program
            return reference.load(), []
        return self._unrecorded(reference.path)

    def _unrecorded(self, path: Path) -> tuple[Trainable, list[str]]:
        missing = f"{self.folder / RECORD} is missing, and reading a run never imports its trainable, {path}"
        if self.metric is None or self.mode is None:
            raise RecordError(f"{missing}; its space.yaml has no metric with a goal to use instead")
        unknown = "the metric's range, the unit of scored examples and what lies beyond a range"
        known = _made_hparams({name: RecordedHparam(default=None) for name in self.hparams})
        trainable = Trainable(
            hparams=known, metric=self.metric, mode=self.mode, start=_cannot_train, is_data_parallel=True
        )
        return trainable, [f"{missing}: {unknown} count as unknown"]


def _cannot_train(*_: Any) -> Any:
    raise UnknownTrainable("this trainable is a record in a run's folder; name the file to train with")


def _recorded_file(path: Path) -> RecordedFile:
    digest = digest_of(path)
    if digest is None:
        raise RecordError(f"{path} can no longer be read; put it back")
    return RecordedFile(path=str(path), sha256=digest, copy_name=f"{path.stem}-{digest[:12]}{path.suffix}")


def _recorded_hparams(space: Space, trainable: Trainable) -> dict[str, RecordedHparam]:
    defaults = trainable.hparams()
    fields = [each for each in dataclasses.fields(defaults) if each.init]
    types = typing.get_type_hints(trainable.hparams, include_extras=True)
    return {
        each.name: RecordedHparam(
            default=_plain(getattr(defaults, each.name)),
            kind=_schema(types.get(each.name)),
            refused_from=_refused(space, trainable, each.name),
        )
        for each in fields
    }


def _schema(kind: Any) -> dict[str, Any] | None:
    try:
        return TypeAdapter(kind).json_schema()
    except (PydanticUserError, TypeError, ValueError):
        return None


def _plain(value: Any) -> Any:
    """The value as JSON has it, or Python's text of what JSON cannot express."""
    return json.loads(json.dumps(of_python(value), default=lambda each: str(of_python(each))))


def _refused(space: Space, trainable: Trainable, name: str) -> dict[Edge, float | int]:
    """The values just beyond either end of a range that the trainable refuses."""
    parameter = space.parameters.get(name)
    if parameter is None or not _has_ends(parameter):
        return {}
    base = space.default_hparams(trainable)
    if _refuses(trainable.hparams, {**base, name: middle(parameter)}):
        return {}  # with trial 0's other values even the middle is refused: nothing is known of the ends
    edges: tuple[Edge, ...] = ("lower", "upper")
    tried = {edge: beyond(parameter, edge) for edge in edges}
    return {
        edge: value for edge, value in tried.items() if _refuses(trainable.hparams, {**base, name: value})
    }


def _has_ends(parameter: Parameter) -> bool:
    is_range = not isinstance(parameter, Choice | Normal)
    return is_range or (isinstance(parameter, Choice) and parameter.is_ordered)


def _refuses(hparams: Callable[..., Any], values: Mapping[str, Any]) -> bool:
    try:
        hparams(**values)
    except Exception:  # a user's own code; whatever it raises, the values do not work
        return True
    return False


def _made_hparams(recorded: Mapping[str, RecordedHparam]) -> type:
    """A dataclass with the record's names and defaults, which refuses what the trainable refused."""

    def check(hparams: Any) -> None:
        for name, one in recorded.items():
            if _is_refused(getattr(hparams, name), one.refused_from):
                raise ValueError(
                    f"{name} must be within what the trainable allows, got {getattr(hparams, name)}"
                )

    fields: list[Any] = [
        (name, Any, dataclasses.field(default_factory=_giving(one.default))) for name, one in recorded.items()
    ]
    return dataclasses.make_dataclass(
        "Hparams", fields, frozen=True, kw_only=True, namespace={"__post_init__": check}
    )


def _is_refused(value: Any, refused_from: Mapping[Edge, float | int]) -> bool:
    if not is_number(value):
        return False
    low, high = refused_from.get("lower"), refused_from.get("upper")
    return (low is not None and value <= low) or (high is not None and value >= high)


def _giving(default: Any) -> Callable[[], Any]:
    return lambda: tuple(default) if isinstance(default, list) else copy.deepcopy(default)
