"""Turn a space file into a Space, or into one error with every problem of the file.

Each step adds to the same `Problems` and continues as far as it can: the YAML with its overrides becomes
plain data (`yaml_file`); pydantic reads the sections (`schema`) and `distributions` the parameters; rules
over the file alone are checked; the trainable is loaded, and its hyperparameters and data are checked; the
rules are checked again with what it declares, and once more with the resulting Space. A file with a mistyped
key, a bound out of order and a trainable that cannot be imported thus gets one message with three problems.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.budget import Ladder
from search.space.command import CommandCheck
from search.space.conditions import NamedSettings
from search.space.design import chosen_ablations, read_trials
from search.space.distributions import read_parameters
from search.space.errors import Problems, SpaceError, listed
from search.space.fields import validated
from search.space.goal import ladder_of, metric_of, scheduler_of
from search.space.hparams import HparamsCheck
from search.space.notices import notices_of
from search.space.objectives import constraints_of, objectives_of
from search.space.paths import (
    check_command,
    check_file,
    data_folder,
    displayed,
    find_file,
    own_file_hint,
    run_folders,
    trainable_reference,
    unknown_homes_as,
)
from search.space.record import RecordReader
from search.space.rules import Draft, check_rules
from search.space.schema import Sampler, SearchSection, SweepFile
from search.space.space import Space
from search.space.sweep_program import args_of_sweep, is_command, is_of_sweep
from search.space.together import ValuesTogether
from search.space.yaml_file import Content, Override, override_key, plain_content, read_content
from search.space.yaml_parser import scalar_hint
from trainables.core.contract import UNKNOWN_SCALE, DataSpec, Mode, Trainable
from trainables.core.data_source import listed_sources, resolve_data
from trainables.core.load import TrainableRef, UnknownTrainable

Loader = Callable[[TrainableRef], Trainable]
SpaceSource = str | Path | Mapping[str, Any]  # names a space file, or is its content
SPACES = Path(__file__).parents[2] / "spaces"  # the program's own
# Which sampler W&B's `method` stands for; search.sampler, if given, is used instead.
_SAMPLERS: Mapping[str | None, Sampler] = {
    None: "tpe",
    "bayes": "tpe",
    "random": "random",
    "grid": "grid",
    "custom": "tpe",
}


def load_space(
    source: SpaceSource,
    *,
    overrides: Sequence[Override] = (),
    spaces_dir: Path = SPACES,
    may_be_fixed: bool = False,
    is_of_run: bool = False,
    trainable_loader: Loader = TrainableRef.load,
) -> Space:
    """Read and check a space.

    `load_space("lr_bs", overrides=["parameters.lr.max=0.3"])` reads spaces/lr_bs.yaml.

    Args:
        source: A bare name, with or without .yaml, is looked up in `spaces_dir`; any other text is a path.
            A `Path` is relative to the current folder. A mapping is the content of a file, and its paths
            are relative to the current folder.
        overrides: Changes made before anything is checked, such as "parameters.lr.max=0.3", whose value
            is YAML, or ("parameters.lr.max", 0.3). Missing keys are added.
        may_be_fixed: Accept a space that leaves nothing to search, for a single training.
        is_of_run: The file is a run's own copy and is only read: its data may be gone, and the trainable is
            described by the record beside it. Nothing that it names is imported or run, since the run may
            have been copied from another machine or come from another person.
        trainable_loader: Imports the trainable; tests pass their own.

    Raises:
        SpaceError: The space cannot be used; the message lists every problem in it.
    """
    problems = Problems()
    title, path, content = _content(source, overrides, spaces_dir, problems)
    if content is None:
        raise SpaceError(title, problems.lines)
    reading = _Reading(content, path, problems, may_be_fixed=may_be_fixed, is_of_run=is_of_run)
    space = None
    with unknown_homes_as(problems):
        if is_of_run:
            space = reading.space_of_run()
        else:
            reading.check_code(overrides)
            space = reading.space(trainable_loader)
    if space is None or problems.lines:
        raise SpaceError(title, _hinted(problems, content))
    return space


def _content(
    source: SpaceSource, overrides: Sequence[Override], spaces_dir: Path, problems: Problems
) -> tuple[str, Path, Content | None]:
    """The space's title in messages, its path, and its content or None, with the reason added to `problems`.

    A mapping is treated as a file "search" in the current folder: that is its name unless it gives another.
    """
    if isinstance(source, Mapping):
        return "the space", Path.cwd() / "search", plain_content(source, overrides, problems)
    path = find_file(source, spaces_dir)
    return displayed(path), path, read_content(path, overrides, problems, spaces_dir=spaces_dir)


class _Reading:
    """One file on its way to a Space: its sections, and the problems they have."""

    def __init__(
        self,
        content: Content,
        path: Path,
        problems: Problems,
        *,
        may_be_fixed: bool = False,
        is_of_run: bool = False,
    ) -> None:
        self._is_of_run = is_of_run
        self._is_named = False
        self._problems = problems
        self._path = path
        self._scalars, self._overridden = content.scalars, content.overridden
        self._file = validated(SweepFile, content.mapping, "", problems)
        section = {} if self._file.search is None else self._file.search
        self._section = validated(SearchSection, section, "search", problems)
        self._is_command = is_command(self._file, self._section)
        has_own_points = bool(self._section.trials or self._section.ablations)
        parameters = {} if self._file.parameters is None and has_own_points else self._file.parameters
        self._sampler: Sampler = self._section.sampler or _SAMPLERS[self._file.method]
        self._declared = read_parameters(
            parameters,
            problems,
            may_be_fixed=may_be_fixed or has_own_points,
            is_listed=self._section.design is not None or self._sampler == "grid",
        )
        self._declared.notes += [f"{key}: ignored; it holds anchors" for key in content.holders]
        entries = self._declared.entries
        for key in content.mapping.keys() - SweepFile.model_fields.keys():
            if any(name == key or name.startswith(f"{key}.") for name in entries):
                problems.replace(key, f"there is no such key here; write parameters.{key}")
        # `epochs: {value: 10}` fills {epochs} of the command and is no hyperparameter.
        if is_of_sweep(self._file, self._section):
            given = args_of_sweep(entries)
            entries = {name: entry for name, entry in entries.items() if name not in given}
        self._named = NamedSettings(
            entries=entries,
            when=self._section.when,
            initial_points=self._section.initial_points,
            defaults=dict(self._section.defaults),
            notes=self._declared.notes,
        )
        self._named.adapt_to_overrides(content.overridden)

    def space(self, loader: Loader) -> Space | None:
        """The Space, or None when there are problems.

        The rules run three times, on ever more complete drafts: see `check_rules` for why.
        """
        draft = self._draft()
        check_rules(draft, self._problems)
        if self._file.search is None and not self._is_command:
            text = "is missing; write program: train.py for a script of your own, or search: {data: photos}"
            self._problems.add("search", f"{text} for a model of the program's (docs/spaces.md)")
            return None
        of_program = self._declared.entries if is_of_sweep(self._file, self._section) else None
        ladder = ladder_of(self._file, self._section, of_program, self._problems)
        reference = self._reference(ladder)
        trainable = None if reference is None else self._loaded(reference, loader)
        data = None if trainable is None else self._data(trainable)
        check = None if trainable is None else self._checked(Path(self._section.trainable).stem, trainable)
        if reference is None or trainable is None or check is None or data is None:
            return None
        metric, mode, notices = metric_of(
            self._file, self._section, trainable, self._problems, is_command=self._is_command
        )
        beside = objectives_of(self._section.objective, metric, mode, trainable, self._problems)
        bounds = constraints_of(self._section.constraints, metric, trainable, self._problems)
        draft = replace(draft, trainable=trainable, check=check)
        check_rules(draft, self._problems)
        if self._problems.lines or ladder is None:
            return None
        ladder = replace(ladder, resolution_unit=trainable.resolution_unit)
        space = replace(
            self._assembled(reference, data, metric, mode, ladder), beside=beside, constraints=bounds
        )
        space = self._with_points(space, check)
        draft = replace(draft, space=space)
        check_rules(draft, self._problems)
        if self._problems.lines:
            return None
        scale = trainable.scales.get(metric.removeprefix("val_"), UNKNOWN_SCALE)
        notices += notices_of(space, draft)
        return replace(space, scale=scale, scored_unit=trainable.scored_unit, notices=tuple(notices))

    def _draft(self) -> Draft:
        return Draft(
            name=self._name(),
            file=self._file,
            section=self._section,
            sampler=self._sampler,
            declared=self._declared,
            when=self._named.when,
            initial_points=self._named.initial_points,
            defaults=self._named.defaults,
            scalars=self._scalars,
            is_command=self._is_command,
        )

    def space_of_run(self) -> Space | None:
        """The Space of a run that is only read, with the trainable as its record describes it.

        Its notices say what is unknown without a record; those of the file were shown when the run began.
        """
        metric = self._file.metric
        mode: Mode | None = None if metric.goal is None else "max" if metric.goal == "maximize" else "min"
        record = RecordReader(
            folder=self._path.parent,
            written=self._section.trainable,
            metric=metric.name,
            mode=mode,
            hparams=tuple(self._named.entries),
        )
        unknown: list[str] = []

        def recorded(reference: TrainableRef) -> Trainable:
            trainable, notices = record.trainable(reference)
            unknown.extend(notices)
            return trainable

        space = self.space(recorded)
        return None if space is None else replace(space, notices=tuple(unknown))

    def check_code(self, overrides: Sequence[Override]) -> None:
        """Report code that would be run and lies in a run's folder, unless an override names it.

        An override is typed by the user, who thereby declares trust in it; `paths` has the reasons.
        """
        given = [override_key(override) for override in overrides]
        if self._is_command:
            if not any(key.startswith("search.command") for key in given):
                check_command(self._section.command, self._path.parent, self._problems)
        elif self._section.trainable.endswith(".py"):
            self._is_named = "search.trainable" in given
            if not self._is_named:
                check_file(self._section.trainable, self._path.parent, self._problems)

    def _reference(self, ladder: Ladder | None) -> TrainableRef | None:
        """The trainable: a family of the program, a user's file by its absolute path, or a command."""
        section = self._section
        if self._is_command:
            command = CommandCheck(
                section=section,
                sweep=self._file,
                declared=self._declared,
                ladder=ladder,
                folder=self._path.parent,
                must_exist=not self._is_of_run,
            )
            return command.reference(self._problems)
        if section.command is not None:
            self._problems.add("search.command", "is for trainable: command; write that, or leave this out")
        if self._problems.concern("search.trainable"):
            return None
        return trainable_reference(section.trainable, self._path, is_typed=self._is_named)

    def _loaded(self, reference: TrainableRef, loader: Loader) -> Trainable | None:
        try:
            return loader(reference)
        except UnknownTrainable as error:
            hint = own_file_hint(self._section.trainable, self._path.parent)
            self._problems.add("search.trainable", f"{error}{hint}")
        return None

    def _data(self, trainable: Trainable) -> DataSpec | None:
        """The data, with absolute paths; None, with the reason added to the problems."""
        given = self._section.data
        is_read = not self._problems.concern("search.data") and isinstance(self._file.search, dict | None)
        if given is None and is_read and not self._is_command:
            known = listed_sources(trainable.data_sources)
            remedy = f"there are {known}" if known else "name the data to train on, or write data: none"
            self._problems.add("search.data", f"is missing; {remedy}")
        if given is None:
            return "none" if self._is_command else None
        data, problems = resolve_data(
            given,
            trainable.data_sources,
            lambda key: data_folder(key, self._path, self._overridden),
            must_exist=not self._is_of_run,
        )
        for problem in problems:
            self._problems.add("search.data", problem)
        return data

    def _name(self) -> str:
        """The file's own name; a sweep's is made fit for a folder, and a notice says so."""
        name = self._file.name or self._path.stem
        return re.sub(r"[/\\]+", "-", name).lstrip(".-") or self._path.stem if self._file.is_sweep else name

    def _checked(self, title: str, trainable: Trainable) -> HparamsCheck | None:
        """Check names, kinds and combinations of values against the trainable's hyperparameters."""
        try:
            check = HparamsCheck(title, trainable.hparams)
        except ValueError as error:
            self._problems.add("search.trainable", str(error))
            return None
        if not self._is_command:  # a command's hyperparameters are those that its space names
            self._named.rename(check.own_names(self._named.entries, self._problems))
            for name in self._declared.broken:
                if name not in check.names:
                    # `lrr: {min: high}`: correcting the bound would not help, so only the name is reported.
                    self._problems.replace(f"parameters.{name}", check.unknown(name))
        is_clear = not self._problems.concern("search.when")  # following conditions in a circle never ends
        valid = check.valid_entries(self._named.entries, self._problems)
        self._together = ValuesTogether(valid, self._named.when if is_clear else {}, check)
        if is_clear and not self._section.trials:  # explicit trials are checked one by one, each as a whole
            self._together.run(self._problems)
        return check

    def _assembled(
        self, trainable: TrainableRef, data: DataSpec, metric: str, mode: Mode, ladder: Ladder
    ) -> Space:
        section = self._section
        scheduler = scheduler_of(self._file, section, trainable, ladder)
        return Space(
            name=self._name(),
            trainable=trainable,
            data=data,
            metric=metric,
            mode=mode,
            parameters=self._named.searched,
            fixed=self._named.fixed,
            when=self._named.when,
            initial_points=self._named.initial_points,
            start=section.start,
            portfolio=section.portfolio.model_copy(
                update={"runs": run_folders(section.portfolio.runs, self._path)}
            ),
            warm_start=run_folders(section.warm_start, self._path),
            ladder=ladder.with_pauses() if scheduler.mode == "freeze_thaw" else ladder,
            scheduler=scheduler,
            sampler=self._sampler,
            limits=section.limits.limits(self._file.run_cap, section.report.tariff),
            resources=section.resources,
            metering=section.metering,
            report=section.report,
            promote=section.promote,
            training=section.training,
            design=section.design,
            levels=section.levels,
            repeats=section.repeats,
        )

    def _with_points(self, space: Space, check: HparamsCheck) -> Space:
        """The Space with its explicit trials, its ablations and the defaults of trial 0.

        A space of resnet18 and resnet34 over a trainable whose default is resnet20 has a trial 0 of its own,
        the first configuration that is accepted; a note names what differs from the trainable's defaults.
        """
        section, problems = self._section, self._problems
        defaults_given = self._named.defaults
        check.check_kinds("search.defaults", defaults_given, problems)
        given = {**defaults_given, **space.fixed}
        trials = read_trials(section.trials, self._path.parent, check, given, problems)
        defaults = self._together.default(defaults_given, [*space.initial_points, *trials])
        if defaults is None:
            if not problems.concern("search.defaults"):
                problems.add("search.defaults", str(check.refusal(given)))
            defaults = {}
        elif changed := {name: value for name, value in defaults.items() if name not in defaults_given}:
            values = listed(f"{name} {value}" for name, value in changed.items())
            self._declared.notes.append(
                f"search.defaults: trial 0 has {values}; the trainable's own defaults do not fit"
            )
        ablations = chosen_ablations(section.ablations, section.chosen_ablations, problems)
        return replace(space, trials=trials, ablations=ablations, defaults=defaults)


def _hinted(problems: Problems, content: Content) -> list[str]:
    """The problems; one that an unquoted word may have caused says how that word was read.

    `min: 010` is 8 to YAML 1.1, and "min 8 is above max 5" would puzzle the person who wrote 010.
    """
    return [f"{line}{scalar_hint(line.partition(': ')[0], content.scalars)}" for line in problems.lines]
