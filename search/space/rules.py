"""Which settings of a space go together: one list of rules, each a function of a draft and its problems.

A single key is checked by `fields` and `schema`, a parameter by `distributions`, a value by the trainable's
own hparams (`hparams`). Rules concern several of them. A new rule is one more function in `RULES`.
"""

from __future__ import annotations

import graphlib
import importlib.util
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.space.conditions import Conditions, allows, ordered, outside_text
from search.space.distributions import Declared
from search.space.errors import KeyedError, Problems, did_you_mean, listed
from search.space.hparams import HparamsCheck
from search.space.limits import not_data_parallel_text
from search.space.parameters import Choice, Fixed, Parameter, num_values
from search.space.schema import Sampler, Scheduler, SearchSection, SweepFile
from search.space.space import Space
from search.space.sweep_program import is_of_sweep
from search.space.yaml_parser import ReadScalar
from trainables.core.contract import Trainable
from trainables.core.files import is_safe_name

_ADVICE = "use horizon: full or rung, or leave it out"
_MOST_POINTS = 10_000  # of a list: each point is trained, and a mistyped range soon makes millions
_PACKAGES: Mapping[str, tuple[str, ...]] = {"gp": ("scipy", "torch"), "cmaes": ("cmaes",)}


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A file on its way to a Space; what is not known yet is None.

    Attributes:
        declared: Parameters by the names that the file has, before they get the trainable's own.
        when: The file's conditions without what overridden parameters no longer allow, as are
            `initial_points` and `defaults`.
        is_command: A script is trained, named by the section or by a sweep file's own program.
        space: The resulting Space.
    """

    name: str
    file: SweepFile
    section: SearchSection
    sampler: Sampler
    declared: Declared
    when: Conditions
    initial_points: Sequence[Mapping[str, Any]]
    defaults: Mapping[str, Any]
    scalars: Sequence[ReadScalar]
    is_command: bool
    trainable: Trainable | None = None
    check: HparamsCheck | None = None
    space: Space | None = None

    @property
    def is_of_sweep(self) -> bool:
        """Whether a sweep file's own program is trained."""
        return is_of_sweep(self.file, self.section)

    @property
    def known(self) -> list[str]:
        """Names that may be referred to, including parameters with problems of their own."""
        return [*self.declared.entries, *self.declared.broken]

    @property
    def idle_hparams(self) -> Sequence[str]:
        """Hyperparameters of the trainable that have no effect with the space's horizon."""
        is_anytime = self.trainable is not None and self.section.horizon == "anytime"
        return self.trainable.no_effect_anytime if self.trainable is not None and is_anytime else ()


Rule = Callable[[Draft, Problems], None]


def check_rules(draft: Draft, problems: Problems) -> None:
    """Add to `problems` all that the rules find in the draft as far as it is known.

    Called with the file alone, with its trainable, and with its space, so that a file whose trainable cannot
    be imported still has all its other problems in the one message. A rule that needs what is not known yet
    finds nothing, and `Problems` keeps a repeated finding once.
    """
    for rule in RULES:
        rule(draft, problems)


def _check_name(draft: Draft, problems: Problems) -> None:
    if not is_safe_name(draft.name):
        text = f"must be usable as a folder's name (no slash, no leading dot), got {draft.name!r}"
        problems.add("name", text)


def _check_conditions(draft: Draft, problems: Problems) -> None:
    """Conditions that can never be met, or that refer to unknown parameters."""
    parameters, known = draft.declared.entries, draft.known
    for name, others in draft.when.items():
        if name not in known:
            problems.add(f"search.when.{name}", f"is not among the parameters{did_you_mean(name, known)}")
        elif isinstance(parameters.get(name), Fixed):
            problems.add(f"search.when.{name}", "has one fixed value, so it cannot have a condition")
        for other, values in others.items():
            where = f"search.when.{name}.{other}"
            if other not in known:
                problems.add(where, f"is not among the parameters{did_you_mean(other, known)}")
            elif other in parameters:
                _check_values(where, values, parameters[other], problems)
    try:
        ordered(draft.when, draft.when)
    except graphlib.CycleError as error:
        problems.add("search.when", f"conditions form a circle: {' -> '.join(error.args[1])}")


def _check_initial_points(draft: Draft, problems: Problems) -> None:
    """Points that name an unknown parameter or leave its range."""
    parameters, known = draft.declared.entries, draft.known
    for index, point in enumerate(draft.initial_points):
        for name, value in point.items():
            where = f"search.initial_points[{index}].{name}"
            if name not in known:
                problems.add(where, f"is not among the parameters{did_you_mean(name, known)}")
            elif name in parameters and not allows(parameters[name], value):
                problems.add(where, outside_text(parameters[name], value))


def _check_defaults(draft: Draft, problems: Problems) -> None:
    """Values of the default configuration that contradict a fixed parameter."""
    for name, value in draft.defaults.items():
        entry = draft.declared.entries.get(name)
        if isinstance(entry, Fixed) and not allows(entry, value):
            problems.add(f"search.defaults.{name}", outside_text(entry, value))


def _check_portfolio(draft: Draft, problems: Problems) -> None:
    """A portfolio where the space lists its own points, and portfolio points with unknown parameters."""
    section, known = draft.section, draft.known
    if section.start == "portfolio" and (section.lists or draft.sampler == "grid"):
        problems.add("search.start", "a list, design or grid has its own points; leave portfolio out")
    for index, point in enumerate(section.portfolio.points or ()):
        for name in point.hparams:
            if name not in known:
                where = f"search.portfolio.points[{index}].hparams.{name}"
                problems.add(where, f"is not among the parameters{did_you_mean(name, known)}")


def _check_values(where: str, values: Sequence[Any], entry: Parameter | Fixed, problems: Problems) -> None:
    if not values:
        problems.add(where, "must be a value or a list of values, got an empty list")
    if isinstance(entry, Fixed):
        return  # an override may fix a parameter that a condition refers to, which may switch this one off
    for value in values:
        if not entry.contains(value):
            problems.add(where, outside_text(entry, value))


def _check_scheduler_key(draft: Draft, problems: Problems) -> None:
    """Our scheduler's keys under W&B's own `scheduler`, one level up, where they would have no effect."""
    given = draft.file.scheduler
    for key in given if isinstance(given, Mapping) else ():
        if key in Scheduler.model_fields:
            problems.add(f"scheduler.{key}", f"there is no such key here; write search.scheduler.{key}")


def _check_batch_size(draft: Draft, problems: Problems) -> None:
    """A batch size of "auto" beside other values: the search could not tell which of them it became."""
    entry = draft.declared.entries.get("batch_size")
    if not draft.is_command and isinstance(entry, Choice) and "auto" in entry.values:
        text = "auto cannot be one of several values: write value: auto and search over effective_batch_size"
        problems.add("parameters.batch_size.values", text)
    for name, variants in draft.space.ablations.items() if draft.space else ():
        if any("auto" in variant.get("batch_size", ()) for variant in variants):
            text = "batch_size: auto cannot be a value of an ablation; use effective_batch_size"
            problems.add(f"search.ablations.{name}", text)


def _check_sampler(draft: Draft, problems: Problems) -> None:
    """Packages that the sampler needs and this environment lacks."""
    missing = [name for name in _PACKAGES.get(draft.sampler, ()) if importlib.util.find_spec(name) is None]
    if missing:
        text = f"{draft.sampler} needs {listed(missing)}; pip install {' '.join(missing)}, or use tpe"
        problems.add("search.sampler", text)


def _check_design(draft: Draft, problems: Problems) -> None:
    """Keys that do not go together, and what a design cannot try."""
    keys, entries = draft.section, draft.declared.entries
    if len(keys.lists) > 1:
        problems.add("search", f"give one of trials, design and ablations, got {listed(keys.lists)}")
    if keys.levels is not None and keys.design is None:
        problems.add("search.levels", "is for a design; write design: one-factor, or leave it out")
    if keys.repeats > 1 and not keys.lists:
        text = "is for trials, a design or ablations; promote.seeds repeats the best of a search"
        problems.add("search.repeats", text)
    if keys.chosen_ablations and "ablations" not in keys.lists:
        problems.add("search.chosen_ablations", "there are no ablations; write search.ablations")
    if keys.design is not None:
        _check_listed(entries, keys.design, keys.levels, problems)
    elif draft.sampler == "grid" and not keys.lists:
        _check_listed(entries, "a grid", None, problems)


def _check_listed(
    entries: Mapping[str, Parameter | Fixed], design: str, levels: int | None, problems: Problems
) -> None:
    fix = "" if design == "a grid" else f", or search.levels: {levels or 5}"
    for name, entry in entries.items():
        if isinstance(entry, Choice) and entry.probabilities is not None:
            problems.add(f"parameters.{name}", f"{design} tries every value once; leave out probabilities")
        elif not isinstance(entry, Fixed) and num_values(entry) is None and levels is None:
            problems.add(
                f"parameters.{name}", f"{design} needs values or whole numbers; write values: [...]{fix}"
            )
    counts = [_count(entry, levels) for entry in entries.values() if not isinstance(entry, Fixed)]
    count = sum(counts) if design == "one-factor" else math.prod(counts)
    if count > _MOST_POINTS:
        where = "search.sampler" if design == "a grid" else "search.design"
        text = f"{design} has {count} points, more than {_MOST_POINTS}; give fewer values"
        problems.add(where, f"{text}, or use design: one-factor" if design != "one-factor" else text)


def _count(entry: Parameter, levels: int | None) -> int:
    every = num_values(entry)
    if levels is None or isinstance(entry, Choice):
        return every or 1
    return levels if every is None else min(every, levels)


def _check_joules(draft: Draft, problems: Problems) -> None:
    """What a ladder of joules cannot be combined with."""
    section, ladder = draft.section, draft.section.ladder
    if ladder is None or ladder.resource != "energy_j":
        return
    gpus = section.resources.gpus_per_trial
    if gpus is not None and 0 < gpus < 1 and not section.metering.exclusive_slots:
        problems.add(
            "search.resources.gpus_per_trial",
            f"{gpus:g} shares a GPU, whose joules are then not known well enough to end a rung; "
            "write 1, or set metering.exclusive_slots: true",
        )
    if section.resources.pack and gpus != 0 and not section.metering.exclusive_slots:
        text = (
            "memory shares devices, whose joules are then not known well enough to end a rung; leave it out,"
        )
        problems.add("search.resources.pack", f"{text} or set metering.exclusive_slots: true")
    if section.scheduler.mode == "pasha":
        text = "pasha compares trials epoch by epoch, and here they differ in what an epoch uses"
        problems.add("search.scheduler.mode", f"{text}; use asha or asha_stopping")
    if section.validation_resolution == "rung" and isinstance(ladder.resolution, list):
        text = "must be top where rungs are measured in joules: an epoch that skips a rung would be scored at"
        problems.add("search.validation_resolution", f"{text} a different resolution from the others there")


def _check_worth(draft: Draft, problems: Problems) -> None:
    """Limits on CO2 or cost where the worth of a kilowatt-hour is unknown."""
    limits, tariff = draft.section.limits, draft.section.report.tariff
    if problems.concern("search.report"):
        return
    if limits.co2e_kg is not None and not tariff.g_per_kwh:
        text = "needs grams for a kilowatt-hour; give search.report.region, such as DEU, or gco2_per_kwh"
        problems.add("search.limits.co2e_kg", text)
    if limits.cost is not None and not tariff.cost_per_kwh:
        problems.add("search.limits.cost", "needs search.report.price_per_kwh and currency")


def _check_processes(draft: Draft, problems: Problems) -> None:
    """Several processes for a trainable whose training cannot be split.

    A user's own trainable may use several GPUs by itself, in its one process.
    """
    resources, trainable = draft.section.resources, draft.trainable
    if draft.is_command or trainable is None or resources.num_processes == 1 or trainable.is_data_parallel:
        return
    is_own = draft.section.trainable.endswith(".py")
    if is_own and not resources.processes_per_trial:
        return
    key = "processes_per_trial" if resources.processes_per_trial else "gpus_per_trial"
    problems.add(f"search.resources.{key}", not_data_parallel_text(draft.section.trainable))


def _check_objective(draft: Draft, problems: Problems) -> None:
    """What cannot be done with several objectives; their names are checked where they are read."""
    section = draft.section
    if len(section.objective) < 2:
        return
    if section.scheduler.mode == "pasha":
        problems.add("search.scheduler.mode", "pasha compares one objective; use asha or asha_stopping")
    if draft.sampler == "cmaes":
        problems.add("search.sampler", "cmaes takes one objective; use tpe, gp or nsga2")
    if section.warm_start:
        text = "earlier runs report only their metric; leave it out, or leave out the other objectives"
        problems.add("search.warm_start", text)


def _check_freeze_thaw(draft: Draft, problems: Problems) -> None:
    """What cannot be combined with a model of learning curves, and what to take instead."""
    section = draft.section
    if section.scheduler.mode != "freeze_thaw" or len(section.objective) > 1:  # then it is asha
        return
    where = "search.scheduler.mode"
    if section.ladder is not None and section.ladder.joules:
        problems.add(where, "freeze_thaw needs rungs of epochs; use asha for rungs of joules")
    if section.lists or draft.sampler == "grid":
        problems.add(where, "freeze_thaw chooses its own points; use asha or none for a list or a grid")
    if draft.sampler not in ("tpe", "grid"):
        text = f"has no effect with scheduler.mode: freeze_thaw, got {draft.sampler}; leave one of them out"
        problems.add("search.sampler" if section.sampler else "method", text)
    if section.warm_start:
        problems.add("search.warm_start", "freeze_thaw learns only from its own curves; leave it out")
    command = draft.space.trainable.command if draft.space is not None else None
    if command is not None and not command["resume"]:
        text = (
            "freeze_thaw pauses trials, and without search.command.resume each would train from the beginning"
        )
        problems.add(where, f"{text} again; give it, or use asha_stopping")


def _check_flat(draft: Draft, problems: Problems) -> None:
    """What `limits.stop_when_flat` cannot be combined with."""
    section = draft.section
    if not section.limits.stop_when_flat:
        return
    where = "search.limits.stop_when_flat"
    if section.lists or draft.sampler == "grid":
        given = section.lists[0] if section.lists else "a grid"
        problems.add(where, f"ends a search that proposes its own points, but {given} is trained in full")
    if len(section.objective) > 1:
        problems.add(
            where, "compares the gain in one metric with its noise; leave out it or search.objective"
        )


def _check_brackets(draft: Draft, problems: Problems) -> None:
    if draft.space is None:
        return
    try:
        draft.section.scheduler.check_brackets(len(draft.space.ladder.rungs))
    except KeyedError as error:
        problems.add(f"search.scheduler.{error.key}", str(error))


def _check_ablations(draft: Draft, problems: Problems) -> None:
    """Ablations with too many combinations, or with some that the trainable rejects."""
    space, check = draft.space, draft.check
    if space is None or check is None:
        return
    for name, variants in space.ablations.items():
        count = sum(math.prod(map(len, variant.values())) for variant in variants)
        if count > _MOST_POINTS:
            text = f"has {count} points, more than {_MOST_POINTS}; give fewer values"
            problems.add(f"search.ablations.{name}", text)
            continue
        context = {**space.defaults, **space.fixed}
        for variant in variants:
            for values in itertools.product(*variant.values()):
                point = dict(zip(variant, values, strict=True))
                check.check_point(f"search.ablations.{name}", point, context, problems)


def _check_horizon(draft: Draft, problems: Problems) -> None:
    """Hyperparameters that are varied without effect, as no schedule falls with the horizon "anytime"."""
    if (space := draft.space) is None:
        return
    text = f"has no effect with search.horizon: anytime, which has no falling schedule; {_ADVICE}"
    for name in draft.idle_hparams:
        if name in space.parameters:
            problems.add(f"parameters.{name}", text)
        for group, variants in space.ablations.items():
            if any(name in variant for variant in variants):
                problems.add(f"search.ablations.{group}", f"{name} {text}")
        if len({repr(point[name]) for point in space.trials if name in point}) > 1:
            problems.add("search.trials", f"{name} {text}")


# In the order in which a reader of the message meets them: the file from the top, then the whole.
RULES: tuple[Rule, ...] = (
    _check_name,
    _check_scheduler_key,
    _check_conditions,
    _check_initial_points,
    _check_portfolio,
    _check_defaults,
    _check_batch_size,
    _check_sampler,
    _check_design,
    _check_joules,
    _check_worth,
    _check_processes,
    _check_objective,
    _check_freeze_thaw,
    _check_flat,
    _check_brackets,
    _check_ablations,
    _check_horizon,
)
