"""A space that has passed all checks, and how it is written beside a run's results."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter

from search.budget import Ladder, Limits
from search.space.conditions import Conditions, is_active, ordered
from search.space.design import Design, Variant
from search.space.distributions import to_entry
from search.space.limits import MeteringSection, ReportSection, Resources
from search.space.objectives import Bound, Objective
from search.space.parameters import Parameter
from search.space.schema import (
    MUST_MATCH,
    Portfolio,
    Promote,
    Sampler,
    Scheduler,
    Start,
    TrainingSection,
)
from search.space.yaml_parser import PlainResolver, dotted
from trainables.core.contract import (
    UNKNOWN_SCALE,
    DataSpec,
    MetricScale,
    Mode,
    Trainable,
)
from trainables.core.data_source import data_text
from trainables.core.files import replacing
from trainables.core.load import TrainableRef

_MUST_MATCH = {"must_match": True}  # marks what `Space.comparable_settings` returns


@dataclass(frozen=True, kw_only=True)
class Space:
    """What to search, and with which resources and limits. Everything in it has been checked.

    Attributes:
        trainable: Its path, if any, is absolute, since workers run in other folders.
        data: A data source as `TrainingContext` takes it; paths in it are absolute.
        parameters: The parameters that are searched. The trainable's other hparams are `fixed` or default.
        when: For each parameter that is not always searched, the values that others must have.
        defaults: Values of the default configuration, trial 0, where they differ from the trainable's own.
        initial_points: Points tried right after the default configuration. Each may be partial.
        start: "portfolio" to try next what earlier runs ranked best; None, not stated, means "default".
        portfolio: The earlier runs, and the points taken from them.
        beside: Objectives beside the metric, joules last.
        constraints: Bounds on numbers that trials report, by name. A trial that breaks one is infeasible.
        warm_start: Folders of earlier runs whose trials the sampler knows from the beginning.
        training: How every trial is trained and scored.
        trials: Explicit points, each possibly partial, that are trained instead of a sampler's.
        design: Points made from the parameters' values, with `levels` values of each range.
        repeats: Seeds per point of a list or design.
        ablations: For each group, hparams with the values to combine; the others keep their default.
        scale: What the trainable declares about the metric's values; not part of a space file.
        scored_unit: What a scored set counts, such as images; also declared by the trainable.
        notices: What the user should know although it is no error; ignored by equality.
    """

    name: str
    trainable: TrainableRef = field(metadata=_MUST_MATCH)
    data: DataSpec = field(metadata=_MUST_MATCH)
    metric: str = field(metadata=_MUST_MATCH)
    mode: Mode = field(metadata=_MUST_MATCH)
    parameters: Mapping[str, Parameter]
    fixed: Mapping[str, Any] = field(metadata=_MUST_MATCH)
    when: Conditions
    initial_points: tuple[Mapping[str, Any], ...]
    ladder: Ladder = field(metadata=_MUST_MATCH)
    scheduler: Scheduler = field(metadata=_MUST_MATCH)
    sampler: Sampler
    limits: Limits
    resources: Resources
    metering: MeteringSection
    report: ReportSection
    promote: Promote
    training: TrainingSection = field(metadata=_MUST_MATCH)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    trials: tuple[Mapping[str, Any], ...] = ()
    design: Design | None = None
    levels: int | None = None
    repeats: int = 1
    ablations: Mapping[str, tuple[Variant, ...]] = field(default_factory=dict)
    start: Start | None = None
    portfolio: Portfolio = field(default_factory=Portfolio)
    warm_start: tuple[str, ...] = ()
    beside: tuple[Objective, ...] = field(default=(), metadata=_MUST_MATCH)
    constraints: Mapping[str, Bound] = field(default_factory=dict, metadata=_MUST_MATCH)
    scale: MetricScale = UNKNOWN_SCALE
    scored_unit: str = "examples"
    notices: tuple[str, ...] = field(default=(), compare=False)

    def default_hparams(self, trainable: Trainable) -> dict[str, Any]:
        """The default configuration, trial 0: the trainable's, with this space's `defaults` and `fixed`."""
        defaults = trainable.hparams()
        names = [field.name for field in dataclasses.fields(defaults) if field.init]
        return {name: getattr(defaults, name) for name in names} | {**self.defaults, **self.fixed}

    def with_training(self, **changes: Any) -> Space:
        """The space with some training settings changed; the new values must be valid already."""
        return dataclasses.replace(self, training=self.training.model_copy(update=changes))

    @property
    def title(self) -> str:
        """What is trained on what, for display."""
        has_own_data = self.data == "none" and self.trainable.command is not None
        return self.trainable.title + ("" if has_own_data else f" on {data_text(self.data)}")

    @property
    def objective(self) -> tuple[str, ...]:
        """The names of the objectives, the metric first."""
        return (self.metric, *(each.name for each in self.beside))

    @property
    def modes(self) -> tuple[Mode, ...]:
        """Whether larger or smaller is better, for each objective."""
        return (self.mode, *(each.mode for each in self.beside))

    @property
    def joules_objective(self) -> str | None:
        """The name of the objective in joules, if there is one."""
        return next((each.name for each in self.beside if each.is_joules), None)

    @property
    def asked_measures(self) -> tuple[str, ...]:
        """The numbers beside the metric that each trial must report, for objectives or constraints."""
        named = (each.name for each in self.beside if not each.is_joules)
        return tuple(dict.fromkeys((*named, *self.constraints)))

    @property
    def objective_items(self) -> list[str | dict[str, str]]:
        """The objectives as a space file writes them."""
        return [self.metric, *(each.to_item() for each in self.beside)]

    @property
    def is_listed(self) -> bool:
        """Whether the points are known before the run starts, so that it ends by itself."""
        return bool(self.trials or self.design or self.ablations) or self.sampler == "grid"

    @cached_property
    def varied(self) -> list[str]:
        """The hparams in which trials differ: searched ones, and those of a list or of ablations.

        Cached, as a list may have thousands of points and each line of the console needs this.
        """
        variants = (each for group in self.ablations.values() for each in group)
        listed = (name for point in (*self.trials, *variants) for name in point)
        return list(dict.fromkeys((*self.parameters, *listed)))

    @property
    def sampler_name(self) -> str:
        """What proposes new trials, for display; with freeze_thaw this is not `sampler`."""
        return "of the model" if self.scheduler.mode == "freeze_thaw" else self.sampler

    def search_order(self) -> list[str]:
        """The searched parameters, each after those in its condition."""
        return ordered(self.parameters, self.when)

    def is_active(self, name: str, hparams: Mapping[str, Any]) -> bool:
        """Whether the parameter is searched, given the values of the others in `hparams`."""
        return is_active(name, {**self.fixed, **hparams}, self.when)

    def contains(self, hparams: Mapping[str, Any]) -> bool:
        """Whether every parameter that is active in `hparams` has a value this space allows."""
        active = [name for name in self.parameters if self.is_active(name, hparams)]
        return all(name in hparams and self.parameters[name].contains(hparams[name]) for name in active)

    def comparable_settings(self) -> dict[str, Any]:
        """Settings by name that decide what scores mean; a resumed run must have the same.

        Limits, resources, promotion, eta and ranges may change: they only affect what comes next.
        """
        settings: dict[str, Any] = {}
        for each in dataclasses.fields(self):
            if "must_match" in each.metadata:
                settings |= self._settings_of(each.name, getattr(self, each.name))
        return settings

    def _settings_of(self, name: str, value: Any) -> dict[str, Any]:
        match value:
            case TrainingSection():
                return value.model_dump()
            case Scheduler():
                keys = [key for key, each in Scheduler.model_fields.items() if MUST_MATCH in each.metadata]
                return {f"scheduler.{key}": getattr(value, key) for key in keys}
            case Ladder():
                return {"ladder": axes(value), "horizon": value.horizon}
        if name == "constraints":
            bounds = (f"{each} {bound}" for each, bound in sorted(self.constraints.items()))
            return {name: ", ".join(bounds) or "none"}
        if name == "beside":
            return {"objective": ", ".join(_item_text(item) for item in self.objective_items)}
        return {name: value}

    def to_dict(self) -> dict[str, Any]:
        """The content of a space file that `load_space` turns into an equal Space."""
        return {
            "name": self.name,
            "metric": {"name": self.metric, "goal": "maximize" if self.mode == "max" else "minimize"},
            "parameters": self.parameter_entries(),
            "search": self._search_section(),
        }

    def _search_section(self) -> dict[str, Any]:
        return {
            **self._what_is_trained(),
            "data": self.data,
            "objective": self.objective_items,
            "constraints": {
                name: bound.model_dump(exclude_none=True) for name, bound in self.constraints.items()
            },
            "ladder": axes(self.ladder),
            "horizon": self.ladder.horizon,
            "scheduler": self.scheduler.model_dump(),
            "sampler": self.sampler,
            "limits": self.limits.stated,
            "resources": self.resources.model_dump(),
            "metering": self.metering.model_dump(),
            "report": self.report.model_dump(),
            "promote": self.promote.model_dump(),
            **self.training.model_dump(),
            "when": {
                name: {other: list(values) for other, values in others.items()}
                for name, others in self.when.items()
            },
            "defaults": dict(self.defaults),
            "initial_points": [dict(point) for point in self.initial_points],
            "start": self.start,
            "portfolio": self.portfolio.to_dict() or None,
            "warm_start": list(self.warm_start) or None,
            **self._design_keys(),
        }

    def _what_is_trained(self) -> dict[str, Any]:
        command = self.trainable.command
        if command is None:
            return {"trainable": str(self.trainable)}
        known = ("groups", "mixed")  # these follow from the parameters as written
        return {
            "trainable": "command",
            "command": {key: value for key, value in command.items() if key not in known},
        }

    def parameter_entries(self) -> dict[str, Any]:
        """The content of `parameters`, with nested groups."""
        command = self.trainable.command
        groups: Mapping[str, Sequence[str]] = command.get("groups", {}) if command else {}
        entries = {name: to_entry(parameter) for name, parameter in self.parameters.items()}
        entries |= {name: {"value": value} for name, value in self.fixed.items()}
        content: dict[str, Any] = {}
        for name, entry in entries.items():
            *outer, key = groups.get(name, (name,))
            within = content
            for group in outer:
                within = within.setdefault(group, {"parameters": {}})["parameters"]
            within[key] = entry
        return content

    def _design_keys(self) -> dict[str, Any]:
        return {
            "trials": [dict(point) for point in self.trials] or None,
            "design": self.design,
            "levels": self.levels,
            "repeats": self.repeats,
            "ablations": {
                name: [{key: list(values) for key, values in variant.items()} for variant in variants]
                for name, variants in self.ablations.items()
            }
            or None,
        }


def _item_text(item: str | dict[str, str]) -> str:
    return item if isinstance(item, str) else " ".join(*item.items())


def dump_space(space: Space, path: Path) -> None:
    """Write `space` to `path` atomically."""
    with replacing(path) as scratch:
        scratch.write_text(yaml_text(space.to_dict()), encoding="utf-8")


class _Representer(SafeRepresenter):
    """Writes 1.0e-05 with a dot, without which PyYAML reads text."""


_Representer.add_representer(
    float, lambda writer, number: writer.represent_scalar("tag:yaml.org,2002:float", dotted(number))
)


def _represent_text(writer: Any, text: str) -> Any:
    """Escape line breaks and other unprintable characters, and quote what PyYAML takes for a mark."""
    has_mark = "?" in text or text.startswith(":")  # ruamel writes {k: :0}, which PyYAML refuses
    style = '"' if not text.isprintable() else "'" if has_mark else None
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Representer.add_representer(str, _represent_text)


def yaml_text(content: Mapping[str, Any], *, has_short_lines: bool = False) -> str:
    """Format plain data as YAML, in its order; `has_short_lines` puts every value on a line of its own."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Resolver = PlainResolver  # quotes every text that some YAML version reads as something else
    yaml.Representer = _Representer
    yaml.width = 4096  # PyYAML rejects a key that is broken over two lines
    yaml.default_flow_style = False if has_short_lines else None
    yaml.representer.sort_base_mapping_type_on_output = False
    text = io.StringIO()
    yaml.dump(content, text)
    return text.getvalue()


def axes(ladder: Ladder) -> dict[str, Any]:
    """The rungs' values on each axis, without axes that no rung sets.

    Where rungs are measured in joules, these are included and `epochs` is one number.
    """
    names = ("epochs", "subset", "resolution", "validation")
    values = {axis: [getattr(rung, axis) for rung in ladder.rungs] for axis in names}
    given: dict[str, Any] = {axis: each for axis, each in values.items() if each[0] is not None}
    if not ladder.joules:
        return given
    return {"resource": ladder.resource, "joules": list(ladder.joules), **given, "epochs": ladder.top.epochs}
