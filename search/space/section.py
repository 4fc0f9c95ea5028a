"""Sections of a space file: how one is read, and how pydantic's complaints are worded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails

from search.space.problems import KeyedError, Problems, did_you_mean, not_among, shown

_M = TypeVar("_M", bound=BaseModel)


class Section(BaseModel):
    """Keys that belong together. A key without a value is a key left out; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        return {key: value for key, value in raw.items() if value is not None or key not in cls.model_fields}


def validated(model: type[_M], raw: Any, at: str, problems: Problems) -> _M:
    """The section that `raw` is; keys with problems are reported and left at their defaults."""
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
        keys = _model_at(model, detail["loc"][:-1]).model_fields
        return f"there is no such key{did_you_mean(detail['loc'][-1], keys)}"
    if detail["type"] == "literal_error":
        return not_among(detail["ctx"]["expected"], detail["input"])
    if detail["type"] == "model_type":
        return f"must be a mapping of keys, got {shown(detail['input'])}"
    return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, got {shown(detail['input'])}"


def _model_at(model: type[BaseModel], path: Sequence[int | str]) -> type[BaseModel]:
    for key in path:
        annotation: Any = model.model_fields[str(key)].annotation
        kinds = [annotation, *getattr(annotation, "__args__", ())]
        model = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return model
