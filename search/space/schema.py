"""The shape of a space file: a W&B sweep file, and everything of ours under `search:`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from search.budget import Limits
from search.rungs import Kind
from search.space.conditions import Points, When
from search.space.design import Ablations, Design, Levels, Names, Trials
from search.space.fields import (
    AboveZero,
    Count,
    Data,
    Eta,
    Flag,
    Number,
    PlainTexts,
    Seed,
    ShareOrCount,
    ShareOrZero,
    Text,
    Texts,
    Tokens,
    Values,
    ZeroOrMore,
)
from search.space.ladder_axes import EarlyTerminate, LadderAxes, TopBudget
from search.space.problems import KeyedError
from search.space.section import Section
from trainables.core.contract import Horizon, Mode, Precision, ValidationResolution

Sampler = Literal["tpe", "random", "gp", "nsga2", "cmaes", "grid"]
CostName = Literal["energy", "energy_per_example"]


class Metric(Section):
    name: Text | None = None
    goal: Literal["maximize", "minimize"] | None = None
    target: Number | None = None
    impute: Any = None
    impute_while_running: Any = None


class Scheduler(Section):
    """How trials go up the ladder: the arguments of `search.rungs.Rungs`."""

    mode: Kind = "asha"  # chosen from `make bench-search`, as the lowest rung of 1 epoch is
    eta: Eta = 3
    brackets: Count = 1
    epsilon: ZeroOrMore | None = None
    control_fraction: ShareOrZero = 0.05

    @model_validator(mode="after")
    def _checked(self) -> Scheduler:
        if self.epsilon is not None and self.mode != "pasha":
            raise KeyedError("epsilon", f"acts with mode: pasha only, got mode: {self.mode}; leave it out")
        if self.brackets > 1 and self.mode == "none":
            raise KeyedError("brackets", "must be 1 with mode: none, where no rung judges")
        return self

    def check_brackets(self, num_rungs: int) -> None:
        """See that there are rungs enough.

        Raises:
            KeyedError: There are not.
        """
        most = min(num_rungs, 2) if self.mode == "pasha" else num_rungs
        if self.brackets > most:
            of = f"a ladder of {num_rungs} rungs with mode: {self.mode}"
            raise KeyedError("brackets", f"must be from 1 to {most} for {of}, got {self.brackets}")


class LimitsSection(Section):
    trials: Count | None = None
    hours: AboveZero | None = None
    kwh: AboveZero | None = None
    disk_gib: AboveZero | None = None
    cache_gib: AboveZero | None = None
    grace_minutes: AboveZero | None = None
    epoch_minutes: AboveZero | None = None

    def with_run_cap(self, run_cap: int | None) -> Limits:
        return Limits(**dict(self) | {"trials": self.trials or run_cap})


class Resources(Section):
    """None means chosen from the machine."""

    workers: Count | None = None
    cpus_per_trial: AboveZero = 1
    gpus_per_trial: ZeroOrMore | None = None


class MeteringSection(Section):
    """What the energy meters may do beside reading sensors.

    Watts are those of a node's CPUs, for nodes whose CPUs no sensor measures; what they give is estimated.
    """

    exclusive_slots: Flag = False
    cpu_watts_idle: ZeroOrMore | None = None
    cpu_watts_max: AboveZero | None = None

    @model_validator(mode="after")
    def _checked(self) -> MeteringSection:
        if (self.cpu_watts_idle is None) != (self.cpu_watts_max is None):
            missing = "cpu_watts_max" if self.cpu_watts_max is None else "cpu_watts_idle"
            raise KeyedError(missing, "is missing: give both watts, or none")
        if (self.cpu_watts_idle or 0.0) > (self.cpu_watts_max or 0.0):
            text = f"must be at most cpu_watts_max, {self.cpu_watts_max:g}, got {self.cpu_watts_idle:g}"
            raise KeyedError("cpu_watts_idle", text)
        return self


class Promote(Section):
    """Full training: of how many of the best, with how many seeds, for how long (None: the top rung)."""

    top: Count = 3
    seeds: Count = 3
    epochs: Count | None = None


class CommandSection(Section):
    """How a script is started, and what it prints; `CommandSpec` has the meaning of each key."""

    run: Tokens = ()
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
    first_epoch: Literal[0, 1] = 1


class SearchSection(Section):
    trainable: Text = "classification"
    command: CommandSection | None = None
    data: Data | None = None
    objective: Texts = ()
    ladder: LadderAxes | None = None
    horizon: Horizon = "full"
    budget: TopBudget = TopBudget()
    validation_subset: ShareOrCount | None = None
    validation_resolution: ValidationResolution = "top"
    scheduler: Scheduler = Scheduler()
    sampler: Sampler | None = None
    limits: LimitsSection = LimitsSection()
    resources: Resources = Resources()
    metering: MeteringSection = MeteringSection()
    promote: Promote = Promote()
    patience: Count | None = None
    early_stop_threshold: Number | None = None
    precision: Precision = "auto"
    seed: Seed = 0
    when: When = Field(default_factory=dict)
    initial_points: Points = ()
    warm_start: Texts = ()
    trials: Trials | None = None
    design: Design | None = None
    levels: Levels | None = None
    repeats: Count = 1
    ablations: Ablations = Field(default_factory=dict)
    chosen_ablations: Names | None = None

    @property
    def lists(self) -> list[str]:
        """The keys given that each say which points are trained."""
        return [key for key in ("trials", "design", "ablations") if getattr(self, key)]


class SweepFile(Section):
    """W&B's keys, of which some mean nothing here, and `search`, which is ours."""

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
        """Whether it has keys that only W&B's own files have."""
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
