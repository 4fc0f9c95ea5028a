"""From a space file to a Space, or to one error with every problem of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.budget import Ladder
from search.space.command import CommandCheck
from search.space.conditions import start_within, when_within
from search.space.design import chosen_ablations, read_trials
from search.space.distributions import read_parameters
from search.space.errors import Problems, SpaceError, is_within, listed
from search.space.fields import validated
from search.space.goal import ladder_of, metric_of, scheduler_of
from search.space.hparams import HparamsCheck
from search.space.notices import notices_of
from search.space.own_code import check_command, check_file, is_in_run
from search.space.parameters import Fixed, Parameter
from search.space.plain_scalars import scalar_hint
from search.space.record import RecordReader
from search.space.rules import Draft, check_rules
from search.space.schema import DEFAULT_EPOCHS, Sampler, SearchSection, SweepFile
from search.space.space import Space
from search.space.sweep_program import args_of_sweep, epochs_of_sweep
from search.space.together import ValuesTogether
from search.space.yaml_file import Content, Override, find_file, override_key, plain_content, read_content
from trainables.core.contract import UNKNOWN_SCALE, DataSpec, Mode, Trainable
from trainables.core.data_source import listed_sources, resolve_data
from trainables.core.load import TrainableRef, UnknownTrainable

Loader = Callable[[TrainableRef], Trainable]
SPACES = Path(__file__).parents[2] / "spaces"  # the program's own
_SAMPLERS: Mapping[str | None, Sampler] = {
    None: "tpe",
    "bayes": "tpe",
    "random": "random",
    "grid": "grid",
    "custom": "tpe",
}


def load_space(
    source: str,
    *,
    overrides: Sequence[Override] = (),
    spaces_dir: Path,
    may_be_fixed: bool = False,
    is_of_run: bool = False,
    trainable_loader: Loader = TrainableRef.load,
) -> Space:
    """Read and check a space file.

    Args:
        source: A bare name, with or without .yaml, is looked up in `spaces_dir`; else a path.
        overrides: Changes made before anything is checked, such as "parameters.lr.max=0.3", whose value
            is YAML, or ("parameters.lr.max", 0.3). Keys that are not there are added.
        may_be_fixed: Take a space that leaves nothing to search: for a single training.
        is_of_run: The file is a run's own copy, to be read: its data may have gone, and what its trainable
            says is taken from the record beside it. Nothing that it names is imported or run.

    Raises:
        SpaceError: The file cannot be used; the message lists every problem in it.
    """
    path = find_file(source, spaces_dir)
    problems = Problems()
    content = read_content(path, overrides, problems, spaces_dir=spaces_dir)
    if content is None:
        raise SpaceError(_displayed(path), problems.lines)
    reading = _Reading(content, path, problems, may_be_fixed=may_be_fixed, is_of_run=is_of_run)
    space = None
    with _unknown_homes_as(problems):
        if is_of_run:
            space = reading.space_of_run()
        else:
            reading.check_code(overrides)
            space = reading.space(trainable_loader)
    if space is None or problems.lines:
        raise SpaceError(_displayed(path), _hinted(problems, content))
    return space


@contextmanager
def _unknown_homes_as(problems: Problems) -> Iterator[None]:
    """What pathlib raises of `~name/runs` where no user has that name, as a problem of the file."""
    try:
        yield
    except RuntimeError as error:
        if str(error) != "Could not determine home directory.":
            raise
        problems.add("file", "a path in it begins with ~ and the name of no user; write it in full")


def space_of(
    content: Mapping[str, Any], *, overrides: Sequence[Override] = (), may_be_fixed: bool = False
) -> Space:
    """The space that a mapping describes, as a file would; its paths start from here.

    Args:
        may_be_fixed: As of `load_space`.

    Raises:
        SpaceError: It cannot be used; the message lists every problem in it.
    """
    problems = Problems()
    plain = plain_content(content, overrides, problems)
    reading = _Reading(plain, Path.cwd() / "search", problems, may_be_fixed=may_be_fixed)
    reading.check_code(overrides)
    space = reading.space(TrainableRef.load)
    if space is None or problems.lines:
        raise SpaceError("the space", _hinted(problems, plain))
    return space


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
        has_own_points = bool(self._section.trials or self._section.ablations)
        parameters = {} if self._file.parameters is None and has_own_points else self._file.parameters
        self._sampler: Sampler = self._section.sampler or _SAMPLERS[self._file.method]
        self._declared = read_parameters(
            parameters,
            problems,
            may_be_fixed=may_be_fixed or has_own_points,
            is_listed=self._section.design is not None or self._sampler == "grid",
        )
        self._entries, self._broken = self._declared.entries, self._declared.broken
        self._when, self._initial_points = self._section.when, self._section.initial_points
        if self._is_of_sweep:  # what the script gets by a place is no hyperparameter
            given = args_of_sweep(self._entries)
            self._entries = {name: entry for name, entry in self._entries.items() if name not in given}
        self._defaults = dict(self._section.defaults)
        self._yield_to(content.overridden)

    def space(self, loader: Loader) -> Space | None:
        """The Space, or None when there are problems."""
        draft = self._draft()
        check_rules(draft, self._problems)
        ladder = ladder_of(self._file, self._section, self._usual_epochs, self._problems)
        reference = self._reference(ladder)
        trainable = None if reference is None else _loaded(reference, loader, self._problems)
        data = None if trainable is None else self._data(trainable)
        check = None if trainable is None else self._checked(Path(self._section.trainable).stem, trainable)
        if reference is None or trainable is None or check is None or data is None:
            return None
        metric, mode, notices = metric_of(
            self._file, self._section, trainable, self._problems, is_command=self._is_command
        )
        draft = replace(draft, trainable=trainable, check=check, metric=metric)
        check_rules(draft, self._problems)
        if self._problems.lines or ladder is None:
            return None
        ladder = replace(ladder, resolution_unit=trainable.resolution_unit)
        space = self._with_points(self._assembled(reference, data, metric, mode, ladder), check)
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
            when=self._when,
            initial_points=self._initial_points,
            defaults=self._defaults,
            scalars=self._scalars,
            is_command=self._is_command,
        )

    def space_of_run(self) -> Space | None:
        """The Space of a run that is read: by its record, with notices of what that does not say."""
        metric = self._file.metric
        mode: Mode | None = None if metric.goal is None else "max" if metric.goal == "maximize" else "min"
        record = RecordReader(
            folder=self._path.parent,
            written=self._section.trainable,
            metric=metric.name,
            mode=mode,
            hparams=tuple(self._entries),
        )
        unknown: list[str] = []

        def recorded(reference: TrainableRef) -> Trainable:
            trainable, notices = record.trainable(reference)
            unknown.extend(notices)
            return trainable

        space = self.space(recorded)
        return None if space is None else replace(space, notices=tuple(unknown))

    def check_code(self, overrides: Sequence[Override]) -> None:
        """Add to the problems what is to be run and lies in a run's folder, unless the overrides name it."""
        given = [override_key(override) for override in overrides]
        if self._is_command:
            if not any(key.startswith("search.command") for key in given):
                check_command(self._section.command, self._path.parent, self._problems)
        elif self._section.trainable.endswith(".py"):
            self._is_named = "search.trainable" in given
            if not self._is_named:
                check_file(self._section.trainable, self._path.parent, self._problems)

    @property
    def _is_of_sweep(self) -> bool:
        """Whether a sweep file's own program is what is trained."""
        return self._is_command and not (self._section.command and self._section.command.run)

    @property
    def _usual_epochs(self) -> list[int]:
        """Of a space that names none."""
        return epochs_of_sweep(self._declared.entries) if self._is_of_sweep else DEFAULT_EPOCHS

    def _reference(self, ladder: Ladder | None) -> TrainableRef | None:
        section, folder = self._section, self._path.parent
        if self._is_command:
            command = CommandCheck(
                section=section,
                sweep=self._file,
                declared=self._declared,
                ladder=ladder,
                folder=folder,
                must_exist=not self._is_of_run,
            )
            return command.reference(self._problems)
        if section.command is not None:
            self._problems.add("search.command", "is for trainable: command; write that, or leave this out")
        if self._problems.concern("search.trainable"):
            return None
        path = Path(section.trainable).expanduser()
        if self._is_named and (path.is_file() or is_in_run(self._path)):
            folder = Path.cwd()  # a command line's paths start where it is typed
        reference = TrainableRef.of(section.trainable)
        return reference if reference.path is None else TrainableRef(path=(folder / path).resolve())

    def _yield_to(self, overridden: Sequence[str]) -> None:
        """Take out of the file's start points and conditions what overridden parameters no longer allow."""
        places = [place.replace(".parameters.", ".") for place in overridden]
        names = [name for name in self._entries if any(is_within(p, f"parameters.{name}") for p in places)]
        if not any(is_within(place, "search.initial_points") for place in places):
            start = start_within(self._initial_points, self._entries, names)
            if start != self._initial_points:
                self._declared.notes.append(
                    f"search.initial_points: without what {listed(names)} no longer allows"
                )
            self._initial_points = start
        self._defaults = dict(*start_within([self._defaults], self._entries, names))
        if not any(is_within(place, "search.when") for place in places):
            when = when_within(self._when, self._entries, names)
            if when != self._when:
                self._declared.notes.append(f"search.when: without what {listed(names)} no longer allows")
            self._when = self._leave_out_unreachable(when)

    def _leave_out_unreachable(
        self, when: dict[str, dict[str, tuple[Any, ...]]]
    ) -> dict[str, dict[str, tuple[Any, ...]]]:
        """The conditions that can be met; the parameters of the others keep the trainable's default."""
        kept = {name: others for name, others in when.items() if all(others.values())}
        left_out = [name for name in when if name not in kept and name in self._entries]
        if left_out:
            self._declared.notes.append(
                f"parameters: without {listed(left_out)}, whose conditions cannot be met"
            )
        self._entries = {name: entry for name, entry in self._entries.items() if name not in left_out}
        return kept

    @property
    def _is_command(self) -> bool:
        """Whether a script is searched: as the section says, or as a sweep file alone does."""
        section = self._section
        is_open = "trainable" not in section.model_fields_set and section.data is None
        return section.trainable == "command" or (is_open and self._file.has_program)

    def _data(self, trainable: Trainable) -> DataSpec | None:
        """What is trained on, with absolute paths; None, with the reason among the problems."""
        given = self._section.data
        is_read = not self._problems.concern("search.data") and isinstance(self._file.search, dict | None)
        if given is None and is_read and not self._is_command:
            known = listed_sources(trainable.data_sources)
            remedy = f"there are {known}" if known else "name what is trained on, or write data: none"
            self._problems.add("search.data", f"is missing; {remedy}")
        if given is None:
            return "none" if self._is_command else None
        data, problems = resolve_data(
            given, trainable.data_sources, self._folder_of_data, must_exist=not self._is_of_run
        )
        for problem in problems:
            self._problems.add("search.data", problem)
        return data

    def _folder_of_data(self, key: str) -> Path:
        """Where a path in `search.data` starts: beside the space file, or where an override was typed."""
        place = f"search.data.{key}"
        is_typed = any(is_within(place, given) for given in self._overridden)
        return Path.cwd() if is_typed else self._path.absolute().parent

    def _name(self) -> str:
        return self._file.name or self._path.stem

    def _checked(self, title: str, trainable: Trainable) -> HparamsCheck | None:
        try:
            check = HparamsCheck(title, trainable.hparams)
        except ValueError as error:
            self._problems.add("search.trainable", str(error))
            return None
        if not self._is_command:
            self._take_own_names(check)
        for name in self._broken if not self._is_command else ():
            if name not in check.names:  # that is the mistake, whatever else is wrong with it
                self._problems.replace(f"parameters.{name}", check.unknown(name))
        is_clear = not self._problems.concern("search.when")  # conditions in a circle have no end
        fitting = check.fitting(self._entries, self._problems)
        self._together = ValuesTogether(fitting, self._when if is_clear else {}, check)
        if is_clear and not self._section.trials:  # each of these is tried as a whole
            self._together.run(self._problems)
        return check

    def _take_own_names(self, check: HparamsCheck) -> None:
        """Call each parameter as the trainable does: of a group `optimizer` its `lr` is lr."""
        own = check.own_names(self._entries, self._problems)
        changed = [f"{name} is {meant}" for name, meant in own.items() if name != meant]
        if not changed:
            return
        self._declared.notes.append(f"parameters: {', '.join(changed)} of the trainable")
        self._entries = {own[name]: entry for name, entry in self._entries.items()}
        self._when = {
            own.get(name, name): {own.get(other, other): values for other, values in others.items()}
            for name, others in self._when.items()
        }
        self._initial_points = tuple(
            {own.get(name, name): value for name, value in point.items()} for point in self._initial_points
        )
        self._defaults = {own.get(name, name): value for name, value in self._defaults.items()}

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
            cost=section.cost,
            parameters=self._searched(),
            fixed={name: entry.value for name, entry in self._entries.items() if isinstance(entry, Fixed)},
            when=self._when,
            initial_points=self._initial_points,
            warm_start=tuple(
                str((self._path.parent / Path(run).expanduser()).resolve()) for run in section.warm_start
            ),
            ladder=ladder.with_pauses() if scheduler.mode == "freeze_thaw" else ladder,
            scheduler=scheduler,
            sampler=self._sampler,
            limits=section.limits.with_run_cap(self._file.run_cap),
            resources=section.resources,
            metering=section.metering,
            promote=section.promote,
            training=section.training,
            design=section.design,
            levels=section.levels,
            repeats=section.repeats,
        )

    def _with_points(self, space: Space, check: HparamsCheck) -> Space:
        section, problems = self._section, self._problems
        check.check_kinds("search.defaults", self._defaults, problems)
        given = {**self._defaults, **space.fixed}
        trials = read_trials(section.trials, self._path.parent, check, given, problems)
        defaults = self._together.default(self._defaults, [*space.initial_points, *trials])
        if defaults is None:
            if not problems.concern("search.defaults"):
                problems.add("search.defaults", str(check.refusal(given)))
            defaults = {}
        elif changed := {name: value for name, value in defaults.items() if name not in self._defaults}:
            values = listed(f"{name} {value}" for name, value in changed.items())
            self._declared.notes.append(
                f"search.defaults: trial 0 has {values}; the trainable's own do not fit"
            )
        ablations = chosen_ablations(section.ablations, section.chosen_ablations, problems)
        return replace(space, trials=trials, ablations=ablations, defaults=defaults)

    def _searched(self) -> dict[str, Parameter]:
        return {name: entry for name, entry in self._entries.items() if not isinstance(entry, Fixed)}


def _loaded(reference: TrainableRef, loader: Loader, problems: Problems) -> Trainable | None:
    try:
        return loader(reference)
    except UnknownTrainable as error:
        problems.add("search.trainable", str(error))
    return None


def _hinted(problems: Problems, content: Content) -> list[str]:
    """The problems; those that a word without quotes may have caused say how it was read."""
    return [f"{line}{scalar_hint(line.partition(': ')[0], content.scalars)}" for line in problems.lines]


def _displayed(path: Path) -> str:
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)
