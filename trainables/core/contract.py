"""The contract between trainables and the search. Standard library only: no torch, no Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Mode = Literal["min", "max"]
ValidationResolution = Literal["top", "rung"]
Horizon = Literal["full", "rung", "anytime"]
DataSpec = str | Mapping[str, Any]  # the value of `search.data`: a name or a mapping; see `core.data_source`


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What one trial may use.

    Attributes:
        epochs: Total epochs since the training's start, after which this budget is used up.
        subset: Training examples per epoch: a fraction in (0, 1] or, as an int, a count. None means all.
        resolution: Side of the square training images in pixels. None means the data's own.
        validation: Examples scored after an epoch: a fraction of the validation set or, as an int, a
            maximum. None defers to `TrainingContext.validation_subset`.
    """

    epochs: int
    subset: float | int | None = None
    resolution: int | None = None
    validation: float | int | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.epochs < 1:
            problems.append(f"epochs must be at least 1, got {self.epochs}")
        for name in ("subset", "validation"):
            value = getattr(self, name)
            if isinstance(value, float) and not 0 < value <= 1:
                problems.append(f"a {name} fraction must be in (0, 1], got {value}")
            if isinstance(value, int) and value < 1:
                problems.append(f"a {name} count must be at least 1, got {value}")
        if self.resolution is not None and self.resolution < 1:
            problems.append(f"resolution must be at least 1 px, got {self.resolution}")
        if problems:
            raise ValueError("; ".join(problems))


_DECIDES_RESULT = {"decides_result": True}  # marks the fields that `TrainingContext.settings` returns


@dataclass(frozen=True, kw_only=True)
class TrainingContext:
    """Where and on what a training runs: everything that is not searched.

    Attributes:
        data: A data source as the space names it, such as "mnist5k" or {"imagefolder": "/photos"}; parsed by
            `data_source.read_source`.
        data_seed: The run's seed: it decides splits and subsets, so all trials see the same data.
        seed: The trial's seed: weights, order of examples, augmentation.
        cache_dir: Folder for decoded data, shared by all trials of a node.
        device: A torch device name.
        resolution: Side in pixels of the top rung's images and of test images. None means the data's own.
        validation_subset: Fraction of the validation set to score, or a maximum count. None means all.
        validation_resolution: "top" scores validation at `resolution` at every rung, so that all scores are
            comparable. "rung" scores at the resolution of the epoch's training, so that only scores of the
            same rung are: for networks that do not carry over to larger images.
        horizon: With "full" and "rung", learning rates anneal over the epochs of the budget that `start`
            receives. With "anytime" they must not, as the end is unknown; the score after each epoch should
            nevertheless be comparable with an annealed one. A trainable without a schedule may ignore it.
        num_processes: Processes that the training may use, each with its own device; 1 means this process.
        num_workers: Threads that decode images when `cache_dir` has no room for them.
        cache_gib: Space that decoded data may take in `cache_dir`. None means whatever its disk has free.
        folder: The training's own folder for what `state_dict` cannot hold, on storage shared by all nodes;
            it lasts as long as the checkpoint. None means that `state_dict` must hold everything.
        auto_precision: What the precision "auto" means on a CPU in this run, with the reason, such as
            "bf16: 1.9 times as fast ..."; decided once for all its trials. If empty, this machine decides.
        progress_file: File to which decoding and long epochs write their progress (`core.progress`), if any.
        is_overfit: Train on the same few examples in one order without augmentation, and score those
            instead of validation, to see whether the model can overfit them.
        is_rehearsal: Nothing will be trained: only the data for a batch is read, and nothing is downloaded
            or decoded ahead. `device` is then "meta", where models have shapes but no values, or "cpu".
    """

    data: DataSpec = field(metadata=_DECIDES_RESULT)
    data_seed: int = field(metadata=_DECIDES_RESULT)
    seed: int = field(metadata=_DECIDES_RESULT)
    cache_dir: Path
    device: str = "cpu"
    precision: Precision = field(default="auto", metadata=_DECIDES_RESULT)
    resolution: int | None = None
    validation_subset: float | int | None = field(default=None, metadata=_DECIDES_RESULT)
    validation_resolution: ValidationResolution = field(default="top", metadata=_DECIDES_RESULT)
    horizon: Horizon = field(default="full", metadata=_DECIDES_RESULT)
    num_processes: int = 1
    num_workers: int = 0
    folder: Path | None = None
    is_overfit: bool = False
    cache_gib: float | None = None
    auto_precision: str = ""
    is_rehearsal: bool = False
    progress_file: Path | None = None

    def settings(self) -> dict[str, Any]:
        """Return the settings that decide the result, apart from hparams and budget, as plain data by name.

        They are stored in saved states, so that none is resumed with other settings, and in config.yaml.
        Device, folders and threads are left out: they change how long a training takes, not its result.
        """
        return {
            each.name: getattr(self, each.name) for each in fields(self) if "decides_result" in each.metadata
        }


class Training(Protocol):
    """One live training, which the caller advances epoch by epoch, and saves and restores in between."""

    epochs_done: int

    def run_epoch(self, budget: Budget) -> Mapping[str, float]:
        """Train one epoch at `budget`, evaluate on validation, and return plain floats.

        The trainable's metric is among them. `num_examples` counts the training examples seen. Any epoch
        but the last of the budget may skip evaluation, and then returns no `val_` value at all.

        It may also return how many examples were scored and what guessing would score, under the names
        that `num_examples` and `by_guessing` return: conclusions then account for the set's size, and
        recognise a score no better than guessing. The same holds for `test`.

        Raises:
            Diverged: The loss became NaN or infinite.
        """
        ...

    def test(self) -> Mapping[str, float]:
        """Evaluate on the test set. A search never calls it, a full training once at its end.

        The metric is among the values, with `test_` in place of `val_` in its name.
        """
        ...

    def notes(self) -> Mapping[str, str]:
        """Automatic choices with their reasons, such as the precision; written to the trial's row.

        They may change from epoch to epoch, for instance when memory ran out or an epoch was repeated.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to resume bit-identically: tensors, numbers, text, dicts and lists.

        It must not contain what `torch.load(weights_only=True)` refuses, such as arrays and objects.
        """
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from `state`, which a `state_dict()` with the same hparams returned."""
        ...


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """A file of pretrained weights that must be on disk before a trial starts.

    Attributes:
        source: "hub" is the Hugging Face hub; "torchvision" and "url" use torch.hub's cache.
        location: `repo_id/filename`, URL, or path.
        alternatives: Equally good locations, in the order in which they are tried.
        size_mib: Size, if it is known or can be estimated before the file is present.
    """

    source: Literal["hub", "torchvision", "url", "file"]
    location: str
    alternatives: tuple[str, ...] = ()
    size_mib: float | None = field(default=None, compare=False)


def no_weights(hparams: Any) -> Sequence[WeightFile]:
    """The default `Trainable.weights`: the training starts from random weights."""
    return ()


def unchecked(needed: TrainingContext | str) -> Sequence[str]:
    """The default `check_data` and `check_device`: there is nothing to check beforehand."""
    return ()


def no_choice(context: TrainingContext) -> str:
    """The default `choose_precision`: there is only one number format."""
    return ""


def no_batch_size(*_: Any) -> str:
    """The default `choose_batch_size`: there is no batch_size "auto"."""
    return ""


def as_given(hparams: Any) -> Mapping[str, Any]:
    """The default `OverfitTarget.overrides`: the trainable's own defaults overfit a few examples."""
    return {}


@dataclass(frozen=True, kw_only=True)
class OverfitTarget:
    """The score that a training reaches when it overfits a few examples.

    Attributes:
        score: The metric on these examples.
        epochs: Maximum number of epochs, of one step each if the examples are one batch.
        num_examples: Number of examples that the target holds for.
        overrides: Maps given hparams to the changes that the target assumes, if the defaults are meant for
            trained weights or thousands of steps. They replace defaults only: what was set stays.
    """

    score: float
    epochs: int = 100
    num_examples: int = 32
    overrides: Callable[[Any], Mapping[str, Any]] = as_given


@dataclass(frozen=True, kw_only=True)
class Example:
    """A configuration that tries out a trainable in seconds, on any machine.

    Attributes:
        data: A source that needs no files.
        hparams: Hyperparameters that make the model small; the others keep their defaults.
    """

    data: DataSpec = "digits"
    hparams: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Published hyperparameters for a search to begin with.

    Attributes:
        source: Where they are published.
        only_with: Values of other hyperparameters on which they depend: a learning rate for SGD is none
            for AdamW.
    """

    source: str
    hparams: Mapping[str, Any]
    only_with: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MetricScale:
    """A metric's range and statistical kind, from which its confidence intervals are computed.

    Attributes:
        low: The smallest possible value; None if there is none or it is unknown.
        high: The largest possible value, likewise.
        kind: "mean": the mean over the scored examples of values from `low` to `high`, such as accuracy or
            the average precision of queries. "spearman", "pearson", "kendall": correlations over the scored
            examples. "other": nothing is known about its spread over examples.
        guessing: The score of guessing, whatever the data. None if it depends on the data and comes with
            each set's scores (`by_guessing`), or is unknown.
    """

    low: float | None = None
    high: float | None = None
    kind: Literal["mean", "spearman", "pearson", "kendall", "other"] = "other"
    guessing: float | None = None


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A number that a training reports beside the metric, which a space may also optimise or bound.

    Attributes:
        mode: Whether less or more of it is better.
        unit: Label on a chart's axis, such as "ms"; empty if it has no unit.
    """

    mode: Mode
    unit: str = ""

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f'mode must be "min" or "max", got {self.mode!r}')


UNKNOWN_SCALE = MetricScale()
MEAN_FRACTION = MetricScale(low=0.0, high=1.0, kind="mean")  # accuracy, top-5 accuracy, Rank-1, ...
FRACTION = MetricScale(low=0.0, high=1.0)  # F1, average precision over classes, ...
LOSS = MetricScale(low=0.0)


def by_guessing(metric: str) -> str:
    """Name of the value that guessing would score in `metric`, such as "val_accuracy_by_guessing".

    For accuracy that is the share of the commonest class among the labels of the scored set.
    """
    return f"{metric}_by_guessing"


def num_examples(metric: str) -> str:
    """Name of the number of examples that `metric` was scored on, such as "val_num_examples"."""
    part, _, name = metric.partition("_")
    return f"{part}_num_examples" if name and part in ("val", "test") else "num_examples"


def is_about_scores(name: str) -> bool:
    """Whether `name` is one from `by_guessing` or `num_examples`: about the scored set, not the model."""
    return name.endswith("_by_guessing") or name in {"val_num_examples", "test_num_examples", "num_examples"}


@dataclass(frozen=True, kw_only=True)
class Trainable:
    """What a file in `trainables/` exports as TRAINABLE.

    Attributes:
        hparams: A frozen dataclass. Its defaults are the default configuration (trial 0);
            its `__post_init__` raises ValueError for values that make no sense.
        metric: Name of the value that ranks trials; `run_epoch` returns it.
        start: Creates a training. Learning-rate schedules span the given budget.
        data_sources: Subclasses of `data_source.DataSource` that `search.data` may name; they resolve and
            check a space's paths. If empty, `search.data` means something to the trainable alone.
        weights: Lists the files that `start` will need for given hparams.
        check_data: Quick check of the data before a run, within seconds and without decoding it: returns
            notes or a `data_summary.DataSummary`, raises DataError if the data cannot be used.
        rehearse: Quick check for anything that `start` and the first epoch at each of these budgets, the
            largest last, would refuse: builds the model, splits the data and forms a batch, but trains
            nothing. Returns notes, raises what a training would. `engine.rehearsal.rehearsing(start)` does
            this for whatever `engine.assembly.assemble` builds. If None, `start` is called and its training
            discarded.
        check_device: Quick check of the device that `TrainingContext.device` will name: returns notes,
            raises RuntimeError.
        choose_precision: Returns what the precision "auto" would mean in a context, in the form of
            `TrainingContext.auto_precision`; empty if there is nothing to choose.
        choose_batch_size: Takes `start`, hparams whose batch_size is "auto", the rungs' budgets, the context
            and a trial's GPU fraction; returns what "auto" means there with the reason, such as
            "64: a step takes 2834 MiB ...".
        rebuild: Rebuilds the module of a trained model from its `model_folder.ModelCard` and its weights by
            name; `jouletune.load_model` calls it. None if no model of its trainings can be used without
            them.
        overfit: The score to reach under `TrainingContext.is_overfit`; None if no weights are learnt.
        has_test: False if there is no test set; `test` is then never called.
        is_data_parallel: Its trainings can run in several processes, each with a share of every batch:
            `start` returns what `engine.assembly.assemble` built, whose loss is a mean over examples.
        resolution_unit: What a budget's resolution counts: pixels of a side, or tokens, nodes, ...
        scales: What is known about the reported values, by name without `val_`. Nothing is assumed about a
            metric that is missing here: its intervals are not clipped, and account for seeds only.
        measures: The numbers beside the metric that a space may name as objective or constraint, by name.
            Either `run_epoch` returns them with the metric, or the training's method `measure` knows them
            before its first epoch (`optional.measured_by`). If empty, a space gives each with its direction.
        scored_unit: What a test set counts, in the plural: images, pairs, queries, ...
        no_effect_anytime: Hparams that have no effect if `TrainingContext.horizon` is "anytime".
        example: The configuration that tests use.
        recipes: Published hyperparameters from which a search begins that knows no earlier run.
    """

    hparams: type
    metric: str
    mode: Mode
    start: Callable[[Any, Budget, TrainingContext], Training]
    data_sources: tuple[type, ...] = ()
    weights: Callable[[Any], Sequence[WeightFile]] = no_weights
    check_data: Callable[[TrainingContext], Sequence[str]] = unchecked
    check_device: Callable[[str], Sequence[str]] = unchecked
    choose_precision: Callable[[TrainingContext], str] = no_choice
    choose_batch_size: Callable[[Any, Any, Sequence[Budget], TrainingContext, float], str] = no_batch_size
    rehearse: Callable[[Any, Sequence[Budget], TrainingContext], Sequence[str]] | None = None
    rebuild: Callable[[Any, Mapping[str, Any]], Any] | None = None
    resolution_unit: str = "px"
    scales: Mapping[str, MetricScale] = field(default_factory=dict)
    measures: Mapping[str, Measure] = field(default_factory=dict)
    scored_unit: str = "examples"
    no_effect_anytime: tuple[str, ...] = ()
    overfit: OverfitTarget | None = None
    has_test: bool = True
    is_data_parallel: bool = False
    example: Example = field(default_factory=Example)
    recipes: tuple[Recipe, ...] = ()

    def __post_init__(self) -> None:
        problems = []
        if not (isinstance(self.hparams, type) and is_dataclass(self.hparams)):
            problems.append(f"hparams must be a dataclass (the class itself), got {self.hparams!r}")
        if not (isinstance(self.metric, str) and self.metric):
            problems.append(f"metric must be the name of a value that run_epoch returns, got {self.metric!r}")
        if self.mode not in get_args(Mode):
            problems.append(f'mode must be "min" or "max", got {self.mode!r}')
        calls = ("start", "weights", "check_data", "check_device")
        problems += [
            f"{name} must be a function, got {getattr(self, name)!r}"
            for name in calls
            if not callable(getattr(self, name))
        ]
        if problems:
            raise ValueError("; ".join(problems))


class UnknownTrainable(ValueError):
    """No trainable has this name, or a file exports none; the message says what is expected."""


class Diverged(Exception):
    """A loss became NaN or infinite; the message says where."""


class BadResult(ValueError):
    """A trainable returned something other than plain numbers with its metric among them."""


class ScriptFailed(Exception):
    """A program that a training runs failed; all but the message's first line are the program's last output.

    Attributes:
        error_name: The Python error in its last line, such as MemoryError; empty if there is none.
    """

    def __init__(self, text: str, error_name: str = "") -> None:
        super().__init__(text)
        self.error_name = error_name


class DataError(Exception):
    """Data is missing, unreadable or unfit; the message says what to do."""


class DataNotHere(DataError):
    """The first trial will download the data: nothing is wrong with it, but it cannot be checked yet."""


class WeightsError(Exception):
    """Pretrained weights are missing, damaged or for another model; the message says what to do."""
