"""Types of the values and sections in a space file, validated strictly and with our own messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError, model_validator
from pydantic_core import ErrorDetails

from search.space.errors import KeyedError, Problems, did_you_mean, not_among, shown, wrong_kind
from search.space.parameters import is_number
from trainables.command.template import places, text_of, words_of

_PLAIN = bool | int | float | str


def _number(value: Any) -> float:
    if not is_number(value):
        raise ValueError(wrong_kind("a number", value))
    number: float = value  # ints stay ints: a whole q or bound means whole numbers
    return number


def _above_zero(value: Any) -> float:
    if _number(value) <= 0:
        raise ValueError(f"must be above 0, got {shown(value)}")
    return _number(value)


def _zero_or_more(value: Any) -> float:
    if _number(value) < 0:
        raise ValueError(f"must be 0 or more, got {shown(value)}")
    return _number(value)


def _share_or_zero(value: Any) -> float:
    if not 0 <= _number(value) <= 1:
        raise ValueError(f"must be a fraction from 0 to 1, got {shown(value)}")
    return _number(value)


def _eta(value: Any) -> float:
    if not 2 <= _number(value) <= 1000:
        raise ValueError(f"must be from 2 to 1000, got {shown(value)}")
    return _number(value)


def whole(value: Any) -> int:
    if not is_number(value) or not isinstance(value, int):
        raise ValueError(wrong_kind("a whole number", value))
    return value


def _count(value: Any) -> int:
    if whole(value) < 1:
        raise ValueError(f"must be at least 1, got {value}")
    return whole(value)


def _seed(value: Any) -> int:
    if not 0 <= whole(value) < 2**32:  # the range that NumPy and Optuna accept
        raise ValueError(f"must be from 0 to {2**32 - 1}, got {value}")
    return whole(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, got {shown(value)}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"must be text, got {shown(value)}")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(item) for item in (value if isinstance(value, list) else [value]))


def _share_or_count(value: Any) -> float | int:
    if isinstance(value, int) and not isinstance(value, bool):
        if value == 1:
            raise ValueError("1 may mean all examples or a single one; write 1.0 for all of them")
        return _count(value)
    if not 0 < _number(value) <= 1:
        raise ValueError(f"must be a fraction above 0 and up to 1.0, or a whole number, got {shown(value)}")
    return _number(value)


def _per_rung(value: Any) -> list[int] | int:
    """Whole numbers, one per rung or one for all rungs."""
    if isinstance(value, str):
        raise ValueError(wrong_kind("a whole number or a list of them", value))
    return [_count(item) for item in value] if isinstance(value, list) else _count(value)


def _joules_per_rung(value: Any) -> list[float]:
    """Joules, one number per rung; a single number is a ladder of one rung."""
    return [_above_zero(item) for item in (value if isinstance(value, list) else [value])]


def _subset_per_rung(value: Any) -> list[float | int] | float | int:
    """Fractions or counts, one per rung or one for all; a 1 among fractions means 1.0."""
    if not isinstance(value, list):
        return _share_or_count(value)
    if any(isinstance(item, float) for item in value):
        value = [1.0 if item == 1 and not isinstance(item, bool) else item for item in value]
    is_counts = len(value) > 1 and any(isinstance(item, int) and item > 1 for item in value)
    return [_count(item) if is_counts and item == 1 else _share_or_count(item) for item in value]


def _scored_per_rung(value: Any) -> list[float | int] | float | int:
    """Fractions or counts, one per rung or one for all, such as 500 on lower rungs and 1.0 at the top."""
    return [_share_or_count(item) for item in value] if isinstance(value, list) else _share_or_count(value)


Number = Annotated[float, PlainValidator(_number)]
AboveZero = Annotated[float, PlainValidator(_above_zero)]
ZeroOrMore = Annotated[float, PlainValidator(_zero_or_more)]
ShareOrZero = Annotated[float, PlainValidator(_share_or_zero)]
Eta = Annotated[float, PlainValidator(_eta)]
Count = Annotated[int, PlainValidator(_count)]
Seed = Annotated[int, PlainValidator(_seed)]
Flag = Annotated[bool, PlainValidator(_flag)]
Text = Annotated[str, PlainValidator(_text)]
Texts = Annotated[tuple[str, ...], PlainValidator(_texts)]
ShareOrCount = Annotated[float | int, PlainValidator(_share_or_count)]
PerRung = Annotated[list[int] | int, PlainValidator(_per_rung)]
JoulesPerRung = Annotated[list[float], PlainValidator(_joules_per_rung)]
ScoredPerRung = Annotated[list[float | int] | float | int, PlainValidator(_scored_per_rung)]
SubsetPerRung = Annotated[list[float | int] | float | int, PlainValidator(_subset_per_rung)]


def _tokens(value: Any) -> tuple[str, ...]:
    """A command as a list of words, or as text that is split as by a shell, without running one."""
    if isinstance(value, str):
        value = words_of(value)
    if not isinstance(value, list) or not all(isinstance(token, _PLAIN) for token in value):
        raise ValueError(f"must be text or a list of words, got {shown(value)}")
    tokens = tuple(text_of(token) for token in value)
    places(tokens)
    return tokens


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"must be a mapping such as {{lr: 0.1}}, got {shown(value)}")
    return value


def _data(value: Any) -> str | dict[str, Any]:
    """A data source: only the trainable knows what it means."""
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, dict) and value and all(map(_is_plain_or_none, value.values())):
        return value
    raise ValueError(f"must be a name or a mapping of names to plain values, got {shown(value)}")


def _is_plain_or_none(value: Any) -> bool:
    return value is None or isinstance(value, _PLAIN)


def _plain_texts(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, _PLAIN) for item in value.values()):
        raise ValueError(f"must be a mapping of names to text, got {shown(value)}")
    return {name: text_of(text) for name, text in value.items()}


Tokens = Annotated[tuple[str, ...], PlainValidator(_tokens)]
Values = Annotated[dict[str, Any], PlainValidator(_mapping)]
Data = Annotated[str | dict[str, Any], PlainValidator(_data)]
PlainTexts = Annotated[dict[str, str], PlainValidator(_plain_texts)]


_M = TypeVar("_M", bound=BaseModel)


class Section(BaseModel):
    """Keys that belong together. A key without a value counts as left out; unknown keys are errors.

    Attributes:
        ELSEWHERE: Keys of another section that users expect in this one, with where they belong.
        EXAMPLE: What to write instead of a section that is no mapping.
    """

    ELSEWHERE: ClassVar[Mapping[str, str]] = {}
    EXAMPLE: ClassVar[str] = ""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        return {key: value for key, value in raw.items() if value is not None or key not in cls.model_fields}


def validated(model: type[_M], raw: Any, at: str, problems: Problems) -> _M:
    """Read `raw` as a section; keys with problems are reported and keep their defaults."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        details = error.errors(include_url=False)
    for detail in details:
        problems.add(*_worded(model, detail, at))
    bad = {detail["loc"][0] for detail in details if detail["loc"]}
    rest = raw if isinstance(raw, dict) and bad else {}
    return model.model_validate({key: value for key, value in rest.items() if key not in bad})


def _worded(model: type[BaseModel], detail: ErrorDetails, at: str) -> tuple[str, str]:
    """Where a problem is, and what it is, in our words instead of pydantic's."""
    path = [str(part) for part in detail["loc"]]
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, KeyedError):
        path.append(cause.key)
    where = ".".join([at, *path]) if at else ".".join(path)
    return where or "file", _text_of(model, detail, cause)


def _text_of(model: type[BaseModel], detail: ErrorDetails, cause: Exception | None) -> str:
    if cause is not None:
        return str(cause)
    if detail["type"] == "extra_forbidden":
        section, key = _model_at(model, detail["loc"][:-1]), str(detail["loc"][-1])
        if issubclass(section, Section) and (place := section.ELSEWHERE.get(key)):
            return f"there is no such key here; write {place}"
        return f"there is no such key{did_you_mean(key, section.model_fields)}"
    if detail["type"] == "literal_error":
        return not_among(detail["ctx"]["expected"], detail["input"])
    if detail["type"] == "model_type":
        section = _model_at(model, detail["loc"])
        example = section.EXAMPLE if issubclass(section, Section) else ""
        write = f"; write {example}" if example else ""
        return f"must be a mapping of keys, got {shown(detail['input'])}{write}"
    return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, got {shown(detail['input'])}"


def _model_at(model: type[BaseModel], path: Sequence[int | str]) -> type[BaseModel]:
    for key in path:
        if isinstance(key, str):  # a number is an index into a list of sections
            kinds = _kinds_in(model.model_fields[key].annotation)
            model = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return model


def places_below(section: type[BaseModel], at: str) -> dict[str, str]:
    """Where the keys of the sections in a section belong: `hours` at `search.limits.hours`.

    A key of several sections has all its places, as "search.ladder.epochs or search.budget.epochs".
    """
    places: dict[str, str] = {}
    for name, field in section.model_fields.items():
        for kind in _kinds_in(field.annotation):
            if isinstance(kind, type) and issubclass(kind, Section):
                for key in kind.model_fields:
                    place = f"{at}.{name}.{key}"
                    places[key] = f"{places[key]} or {place}" if key in places else place
    return places


def _kinds_in(annotation: Any) -> list[Any]:
    """The annotation and, recursively, its arguments."""
    return [annotation, *(kind for part in getattr(annotation, "__args__", ()) for kind in _kinds_in(part))]
