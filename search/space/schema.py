"""The shape of a space file: a W&B sweep file, and everything of ours under `search:`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from search.budget import Ladder, Resource
from search.rungs import Kind
from search.space.conditions import Points, When
from search.space.design import Ablations, Design, Levels, Names, Trials
from search.space.errors import KeyedError, listed
from search.space.fields import (
    AboveZero,
    Count,
    Data,
    Eta,
    Flag,
    JoulesPerRung,
    Number,
    PerRung,
    PlainTexts,
    ScoredPerRung,
    Section,
    Seed,
    ShareOrCount,
    ShareOrZero,
    SubsetPerRung,
    Text,
    Texts,
    Tokens,
    Values,
    ZeroOrMore,
    places_below,
)
from search.space.limits import LimitsSection, MeteringSection, ReportSection, Resources
from search.space.objectives import NamedObjectives
from trainables.core.contract import Budget, Horizon, Mode, Precision, ValidationResolution
from trainables.core.model_folder import WeightsFormat

DEFAULT_EPOCHS = [1, 3, 9]  # of a space without a ladder


class LadderAxes(Section):
    """The axes of a ladder: on each, a list with one value per rung, or one value for all rungs.

    With `resource: energy_j` the joules say where rungs end, and `epochs` is a single number, the cap of a
    training. `validation` caps the examples scored at a rung, as their cost would dominate a small rung.
    """

    EXAMPLE: ClassVar[str] = f"{{epochs: {DEFAULT_EPOCHS}}}"

    resource: Resource = "epochs"
    joules: JoulesPerRung | None = None
    epochs: PerRung | None = None
    subset: SubsetPerRung | None = None
    resolution: PerRung | None = None
    validation: ScoredPerRung | None = None

    @model_validator(mode="after")
    def _checked(self) -> LadderAxes:
        if self.resource == "energy_j":
            self._check_joules()
        elif self.joules is not None:
            raise KeyedError(
                "joules", "have an effect only with resource: energy_j; write it, or leave them out"
            )
        if self.epochs is not None:
            self.over(self.epochs)
        return self

    def _check_joules(self) -> None:
        if self.joules is None:
            text = "are missing with resource: energy_j; write what a trial has used at the end of each rung"
            raise KeyedError("joules", f"{text}, such as joules: [500, 1500, 4500]")
        if not isinstance(self.epochs, int):
            got = "is missing" if self.epochs is None else f"must be one number, got {self.epochs}"
            raise KeyedError("epochs", f"{got}: with resource: energy_j it caps a training")

    def over(self, epochs: list[int] | int) -> Ladder:
        """The ladder with these epochs and this section's other axes."""
        given: dict[str, Any] = {"epochs": epochs, "subset": self.subset, "resolution": self.resolution}
        given |= {"validation": self.validation, "joules": self.joules}
        axes = {axis: values for axis, values in given.items() if values is not None}
        lengths = {axis: len(values) for axis, values in axes.items() if isinstance(values, list)}
        if len(set(lengths.values())) > 1:
            counts = listed(f"{axis} {length}" for axis, length in lengths.items())
            raise ValueError(f"lists must have one value per rung, got {counts}")
        num_rungs = max(lengths.values(), default=1)
        columns = {axis: v if isinstance(v, list) else [v] * num_rungs for axis, v in axes.items()}
        joules = tuple(columns.pop("joules", ()))
        try:
            budgets = tuple(Budget(**_rung(columns, index)) for index in range(num_rungs))
            return Ladder(budgets, joules=joules)
        except ValueError as error:  # its text begins with the axis: "epochs must rise from ..."
            axis, _, text = str(error).partition(" ")
            raise KeyedError(axis, text) if axis in axes else error from None


class TopBudget(Section):
    """Another top for the ladder; the lower rungs keep their proportions."""

    epochs: Count | None = None
    subset: ShareOrCount | None = None
    resolution: Count | None = None


class EarlyTerminate(Section):
    """W&B's hyperband: brackets counted up from `min_iter`, or down from `max_iter`."""

    EXAMPLE: ClassVar[str] = "{type: hyperband, min_iter: 3}"

    type: Literal["hyperband"] | None = None
    min_iter: Count | None = None
    max_iter: Count | None = None
    s: Count | None = None
    eta: Eta = 3
    strict: bool = False

    @model_validator(mode="after")
    def _checked(self) -> EarlyTerminate:
        if self.min_iter is None and self.max_iter is None:
            raise ValueError("give min_iter, or max_iter and s")
        if self.max_iter is not None and self.s is None:
            raise KeyedError("s", "must be given with max_iter: the number of brackets below it")
        return self

    def epochs(self, top: int | None = None) -> list[int]:
        """The ladder's epochs.

        Args:
            top: Epochs of a whole training, where the file says how many these are: brackets beyond them end
                nothing. If None, `max_iter` is the end; `min_iter` sets none, and gets four rungs, as in
                W&B's own example.
        """
        brackets = self._brackets(top)
        return brackets if top is None else [*(each for each in brackets if each < top), top]

    def _brackets(self, top: int | None) -> list[int]:
        if self.max_iter is None:
            assert self.min_iter is not None
            powers = range(4 if top is None else max(1, top.bit_length()))  # eta is at least 2
            return [round(self.min_iter * self.eta**power) for power in powers]
        assert self.s is not None
        brackets = (int(self.max_iter / self.eta**power) for power in range(min(self.s, 64) + 1))
        return sorted({epochs for epochs in brackets if epochs >= 1})


def _rung(columns: Mapping[str, Sequence[Any]], index: int) -> dict[str, Any]:
    return {axis: values[index] for axis, values in columns.items()}


Sampler = Literal["tpe", "random", "gp", "nsga2", "cmaes", "grid"]
Start = Literal["default", "portfolio"]
# Marks keys that must be the same in a resumed run: which trials continued and paused followed from them.
MUST_MATCH = "must match"


class Metric(Section):
    EXAMPLE: ClassVar[str] = "{name: val_acc, goal: maximize}"

    name: Text | None = None
    goal: Literal["maximize", "minimize"] | None = None
    target: Number | None = None
    impute: Any = None
    impute_while_running: Any = None


class Scheduler(Section):
    """How trials go up the ladder: the arguments of `search.rungs.Rungs`."""

    EXAMPLE: ClassVar[str] = "{mode: asha}"

    # chosen by `make bench-search`, as is the lowest rung of 1 epoch
    mode: Annotated[Kind, MUST_MATCH] = "asha"
    eta: Eta = 3
    brackets: Annotated[Count, MUST_MATCH] = 1
    epsilon: ZeroOrMore | None = None
    control_fraction: Annotated[ShareOrZero, MUST_MATCH] = 0.03
    skip_rungs_at_chance: Flag = True
    skip_weak_rungs: Flag = False

    @model_validator(mode="after")
    def _checked(self) -> Scheduler:
        if self.epsilon is not None and self.mode != "pasha":
            raise KeyedError(
                "epsilon", f"has an effect only with mode: pasha, got mode: {self.mode}; leave it out"
            )
        if self.brackets > 1 and self.mode == "none":
            raise KeyedError("brackets", "must be 1 with mode: none, where rungs decide nothing")
        return self

    def check_brackets(self, num_rungs: int) -> None:
        """Check that the ladder has enough rungs for the brackets.

        Raises:
            KeyedError: It has too few.
        """
        most = min(num_rungs, 2) if self.mode == "pasha" else num_rungs
        if self.brackets > most:
            of = f"a ladder of {num_rungs} rungs with mode: {self.mode}"
            raise KeyedError("brackets", f"must be from 1 to {most} for {of}, got {self.brackets}")


class PortfolioPoint(Section):
    """A point that is tried early, and its source: a trial of an earlier run, or a recipe."""

    hparams: Values
    source: Text


class Portfolio(Section):
    """The source of the points that are tried right after the default configuration.

    Attributes:
        runs: Earlier runs; empty means the trainable's runs in the same folder as this one.
        points: The points taken from them. A search writes them into its own copy of the space, so that
            whatever starts from that copy tries the same points.
    """

    runs: Texts = ()
    points: tuple[PortfolioPoint, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The keys that are set, as plain data."""
        runs = {"runs": list(self.runs)} if self.runs else {}
        return runs if self.points is None else {**runs, "points": [dict(point) for point in self.points]}


class Promote(Section):
    """Full training: of how many of the best trials, with how many seeds, for how long (None: the top rung).

    `weights` is the number format of the weights that finished trainings leave, including a search's.
    """

    top: Count = 3
    seeds: Count = 3
    epochs: Count | None = None
    weights: WeightsFormat = "fp32"


class CommandSection(Section):
    """How a script is started, and what it prints; `CommandSpec` documents each key."""

    run: Tokens = ()
    launcher: Literal["torchrun"] | None = None
    resume: Tokens = ()
    test: Tokens = ()
    metric: Text | None = None
    mode: Mode | None = None
    defaults: Values = Field(default_factory=dict)
    flags: PlainTexts = Field(default_factory=dict)
    folder: Text = "."
    env: PlainTexts = Field(default_factory=dict)
    timeout_s: AboveZero | None = None
    graceful_s: ZeroOrMore = 10
    first_epoch: Literal[0, 1] | None = None
    metrics: Any = None
    with_args: Texts = ()


class TrainingSection(Section):
    """How every trial is trained and scored; the keys are directly under `search`.

    A resumed run must have the same values, which decide what its existing scores mean.

    Attributes:
        validation_subset: Fraction or number of validation examples that are scored; None means all.
        patience: Epochs without improvement after which a trial ends.
        early_stop_threshold: A trial whose metric is worse than this at the end of a rung is stopped there.
        seed: Decides splits, subsets and what the sampler draws.
    """

    validation_subset: ShareOrCount | None = None
    validation_resolution: ValidationResolution = "top"
    patience: Count | None = None
    early_stop_threshold: Number | None = None
    precision: Precision = "auto"
    seed: Seed = 0


class SearchSection(TrainingSection):
    trainable: Text = "classification"
    command: CommandSection | None = None
    data: Data | None = None
    objective: NamedObjectives = ()
    constraints: Values = Field(default_factory=dict)
    ladder: LadderAxes | None = None
    horizon: Horizon = "full"
    budget: TopBudget = TopBudget()
    scheduler: Scheduler = Scheduler()
    sampler: Sampler | None = None
    limits: LimitsSection = LimitsSection()
    resources: Resources = Resources()
    metering: MeteringSection = MeteringSection()
    report: ReportSection = ReportSection()
    promote: Promote = Promote()
    when: When = Field(default_factory=dict)
    defaults: Values = Field(default_factory=dict)
    initial_points: Points = ()
    start: Start | None = None
    portfolio: Portfolio = Portfolio()
    warm_start: Texts = ()
    trials: Trials | None = None
    design: Design | None = None
    levels: Levels | None = None
    repeats: Count = 1
    ablations: Ablations = Field(default_factory=dict)
    chosen_ablations: Names | None = None

    @property
    def training(self) -> TrainingSection:
        """The keys of every trial's training, as a section of their own."""
        return TrainingSection.model_validate(
            {key: getattr(self, key) for key in TrainingSection.model_fields}
        )

    @property
    def lists(self) -> list[str]:
        """The given keys that list the points to train."""
        return [key for key in ("trials", "design", "ablations") if getattr(self, key)]


class SweepFile(Section):
    """W&B's keys, some of which have no effect here, and `search`, which is ours."""

    ELSEWHERE: ClassVar[Mapping[str, str]] = {
        **places_below(SearchSection, "search"),
        **{name: f"search.{name}" for name in SearchSection.model_fields},
    }

    name: Text | None = None
    description: Any = None
    program: Any = None
    command: Any = None
    project: Any = None
    entity: Any = None
    controller: Any = None
    job: Any = None
    image_uri: Any = None
    kind: Any = None
    apiVersion: Any = None  # noqa: N815  (W&B's spelling)
    scheduler: Any = None
    metrics: Any = None
    method: Literal["bayes", "random", "grid", "custom"] | None = None
    metric: Metric = Metric()
    run_cap: Count | None = None
    early_terminate: EarlyTerminate | None = None
    parameters: Any = None
    search: Any = None

    @property
    def is_sweep(self) -> bool:
        """Whether it has keys that only W&B's sweep files have."""
        own = {
            "name",
            "description",
            "metric",
            "parameters",
            "search",
            "method",
            "run_cap",
            "early_terminate",
        }
        return bool(self.model_fields_set - own)

    @property
    def has_program(self) -> bool:
        return self.program is not None or self.command is not None


SearchSection.ELSEWHERE = {
    **places_below(SearchSection, "search"),
    **{name: name for name in SweepFile.model_fields},
}
