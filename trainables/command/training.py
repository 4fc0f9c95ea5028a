"""A training by any script, which is started, read from, suspended between epochs, and ended."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trainables.command.files import Files
from trainables.command.launcher import launched, threads_of_rank
from trainables.command.reports import OwnCheckpoints, Reports
from trainables.command.rows import Row, hint_in, read_row
from trainables.command.scores import LinesLost, Scores
from trainables.command.script import Script, lock_limit_s
from trainables.command.spec import CommandSpec
from trainables.core.contract import BadResult, Budget, ScriptFailed, TrainingContext
from trainables.core.suggest import suggest

_LOOK_EVERY_S = 0.01  # 0.1 % of a core
_STAND_INS = Path(__file__).with_name("stand_ins")  # packages that shadow a script's installed ones
_SAVED_S = 2.0  # longest wait for the checkpoint after a score; a script may save only every few epochs
_END_S = 2.0  # within which a script whose only line is its last ends
_SOON_S = 5.0  # a script that ends sooner may well print all its lines at once
_LONGEST_S = 86_400.0  # between two scores, unless the space says otherwise: no wait is endless
_FIRST_S = 3_600.0  # until the first score from a file; after that, its or the metric's name must be wrong
_MAX_SHOWN = 200  # characters of a line in a message


class CommandTraining:
    """A `Training` whose state is the script's own checkpoint folder.

    One process trains as many epochs as it can: another is started only if the command changes (a rung with
    another subset, resolution or end) or the training was interrupted. The script's output goes to a file,
    so lines printed before a kill are not lost.

    Without `TrainingContext.folder`, all files are in a temporary folder and `state_dict` holds the
    checkpoint.
    """

    def __init__(self, spec: CommandSpec, hparams: Any, budget: Budget, context: TrainingContext) -> None:
        self._spec, self._hparams = spec, dataclasses.asdict(hparams)
        self._budget, self._context = budget, context
        self._scratch = None if context.folder else TemporaryDirectory(prefix="jouletune-script-")
        self._files = Files(context.folder or Path(self._scratch.name if self._scratch else ""))
        self._script: Script | None = None
        self._command: list[str] = []
        self._scores = Scores(spec.metric, first_epoch=spec.first_epoch, needs_count=bool(spec.resume))
        self._reports = Reports(spec, self._files, self._scores)
        self._is_new = True
        self._notes: dict[str, str] = {}
        self._last_lines: list[str] = []
        self._is_resumed = False
        self._has_ended_itself = False
        self._planned_end = 0  # the epoch at which a process with this budget is told to end, if any
        self.epochs_done = 0
        self.done_reason = ""

    def run_epoch(self, budget: Budget) -> Mapping[str, float]:
        """Wait until the script has reported the next epoch, by a score or by continuing without one.

        An epoch may lack a score only within a rung, if the script validates every few epochs.

        Raises:
            BadResult: The script ended without a score, gave none at the end of a rung or within
                `timeout_s`, or its epochs make no sense.
            ScriptFailed: It ended with an error, or an earlier run of it has not ended.
        """
        epoch = self.epochs_done + 1
        self._planned_end = min(self._own_ends(budget), default=0)
        if not self._scores.has(epoch):
            self._train(epoch, budget)
        if self._script and epoch in self._own_ends(budget):
            self._see_the_end(self._script, epoch)
        is_reported = self._scores.has(epoch) or self._is_unscored(epoch, budget)
        row = self._scores.hand_on(epoch) if is_reported else self._ended_early()
        if self._spec.metric not in row.values and epoch == budget.epochs:
            raise BadResult(self._unscored_text(epoch))
        self.epochs_done = self._scores.done = epoch
        self.done_reason = row.done_reason
        return row.values

    def test(self) -> Mapping[str, float]:
        """Run the test command and return the numbers of its last line that has the metric."""
        self._end()
        line = self._spec.test_line(self._hparams, self._values(self._budget))
        script = self._started(line, self._files.test_stdout, self._spec.test_metric)
        if not script.wait(self._limit_s):
            script.end()
            raise BadResult(f"search.command.test took longer than {self._limit_s:g} s")
        rows = [read_row(line, self._spec.test_metric) for line in script.listen()[0]]
        found = [row.values for row in rows if row and self._spec.test_metric in row.values]
        if not found:
            raise BadResult(f"search.command.test printed no JSON line with {self._spec.test_metric}")
        return found[-1]

    def notes(self) -> Mapping[str, str]:
        return {**self._notes, **self._scores.notes, **self._reports.notes}

    def state_dict(self) -> dict[str, Any]:
        last = {"values": self._scores.last.values, "done_reason": self.done_reason}
        # After the epoch at which it was told to end no line is missing, however long its process lives on.
        has_ended = self._has_ended_itself or 0 < self._planned_end <= self.epochs_done
        reported = {**self._scores.state(), "has_ended_itself": has_ended}
        packed = self._packed() if self._scratch else {}
        return {"epochs_done": self.epochs_done, "last": last, "reported": reported, **packed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._is_new = False
        self.epochs_done = state["epochs_done"]
        last, reported = Row(epoch=self.epochs_done, **state["last"]), state.get("reported", {})
        self.done_reason = last.done_reason
        self._has_ended_itself = reported.get("has_ended_itself", False)
        self._files.unpack(state.get("files", {}))
        self._scores.restore(self.epochs_done, last, state.get("rows", []), reported)
        if self._spec.resume:
            with self._files.locked(self._lock_s):  # an earlier owner may still be ending the script
                self._reports.take_all_before()

    def _packed(self) -> dict[str, Any]:
        """The script's checkpoint, with the rows of epochs that it has already trained."""
        if self._script:
            self._reports.take_news(self._script)
        return {"files": self._files.packed(), "rows": self._scores.rows()}

    def _train(self, epoch: int, budget: Budget) -> None:
        """Let the script train until it has reported `epoch` or ends."""
        command = self._spec.run_line(self._hparams, self._values(budget))
        if command != self._command:
            self._start(command)
        elif self._script:
            self._script.go()
        if self._script is None:
            return  # it has already ended by itself
        try:
            has_ended = self._listen(self._script, epoch)
        except (LinesLost, ScriptFailed) as error:
            if isinstance(error, ScriptFailed):
                self._note_unreadable(error)
            self._is_new = True
            self._start(command)
            has_ended = self._listen(self._script, epoch)
        self._notes["pid"] = self._files.lock.read_text()
        if has_ended:
            self._script = None
        else:
            self._script.hold()

    def _note_unreadable(self, error: ScriptFailed) -> None:
        """Note that the script starts over, as its checkpoint is unreadable: a kill may have truncated it.

        Raises:
            ScriptFailed: It failed for another reason: it was not resumed from a `{newest:...}` file, or had
                already reported something.
        """
        if not (self._is_resumed and self._spec.newest_patterns and not self._scores.num_reported):
            raise error
        self._notes["unreadable"] = f"not resumed, all epochs trained again: {str(error).splitlines()[0]}"

    def _start(self, command: list[str]) -> None:
        self._end()
        self._is_resumed = not self._is_new and self._has_state()
        is_over = self._is_new or (self._reports.are_in_files and not self._is_resumed)
        if is_over:  # it writes its files again, and older rows would be taken for its own
            self._files.clear(self._lock_s)
        self._is_new = False
        self._reports.begin(is_over=is_over)
        arguments = []
        if self._is_resumed:
            arguments = self._spec.resume_arguments(self._hparams, self._values(self._budget))
        elif self.epochs_done:
            self._notes["repeated"] = f"epochs 1 to {self.epochs_done} trained again: the script started over"
        self._scores.begin(is_resumed=self._is_resumed, has_ended_itself=self._has_ended_itself)
        self._has_ended_itself = False
        self._script = self._started([*command, *arguments], self._files.stdout, self._spec.metric)
        self._command = command
        self._notes["command"] = shlex.join([*command, *arguments])
        if self._spec.launcher:
            self._notes["launcher"] = f"{self._spec.launcher}: {self._context.num_processes} processes"

    def _started(self, argv: list[str], stdout: Path, metric: str) -> Script:
        spec = self._spec
        if spec.needs_json_file:
            arguments = spec.json_of(self._hparams, self._values(self._budget))
            self._files.arguments.write_text(arguments, encoding="utf-8")
        env = {**spec.environment, **(self._wandb_variables() if spec.metrics.kind == "wandb" else {})}
        if spec.launcher:
            number, cores = self._context.num_processes, self._context.num_workers
            argv = launched(argv, num_processes=number, log_folder=self._files.other_ranks)
            env |= threads_of_rank(spec.env, number, cores)
        return Script(
            argv,
            self._files,
            metric=metric,
            stdout=stdout,
            cwd=spec.folder,
            env=env,
            graceful_s=spec.graceful_s,
        )

    def _wandb_variables(self) -> dict[str, str]:
        """Variables by which the script's `import wandb` finds the stand-in, and that this trial."""
        path = self._spec.environment.get("PYTHONPATH", "")
        return {
            "PYTHONPATH": os.pathsep.join([str(_STAND_INS), *filter(None, [path])]),
            "JOULETUNE_WANDB_HISTORY": str(self._files.history),
            "JOULETUNE_WANDB_CONFIG": str(self._files.arguments),
            "JOULETUNE_WANDB_REAL": str(int(self._spec.metrics.real)),
        }

    def _has_state(self) -> bool:
        """Whether the script has something to resume from."""
        patterns = self._spec.newest_patterns
        return (
            bool(self._spec.resume) and self._files.has_checkpoint and all(map(self._files.newest, patterns))
        )

    def _listen(self, script: Script, epoch: int) -> bool:
        """Read reports until the script has reported `epoch` or ended; return whether it has ended."""
        try:
            return self._heard(script, epoch)
        except LinesLost:
            raise
        except BaseException:
            self._end()
            raise

    def _heard(self, script: Script, epoch: int) -> bool:
        started_s, reported_s = time.monotonic(), None
        saved = OwnCheckpoints(self._files, self._spec.newest_patterns)
        while True:
            num_before = self._scores.num_reported
            try:
                is_news, has_ended = self._reports.take_news(script)
            except ScriptFailed:
                if self._scores.has(epoch):  # the error is raised in the next epoch
                    return False
                raise
            now_s = time.monotonic()
            if has_ended:
                self._take_in_the_end(script, epoch, num_before, now_s - started_s)
                return True
            if self._scores.has_later(epoch):
                return False
            if self._scores.has(epoch):
                reported_s = now_s if is_news or reported_s is None else reported_s
                waited_s = now_s - reported_s
                is_settled = waited_s > (_END_S if self._may_be_its_last else self._reports.settled_s)
                if is_settled and (waited_s > _SAVED_S or saved.is_whole()):
                    return False
            if now_s - started_s > self._limit_s:
                raise BadResult(self._late_text())
            if not is_news:
                time.sleep(_LOOK_EVERY_S)

    def _late_text(self) -> str:
        """Message about a script that keeps training without a score."""
        what = f"the script reported no {self._spec.metric} within {self._limit_s:g} s"
        return f"{what}: {self._reports.found}" if self._reports.are_in_files else what

    def _take_in_the_end(self, script: Script, epoch: int, num_before: int, taken_s: float) -> None:
        """Interpret the lines of a script that has ended.

        Raises:
            LinesLost: A resumed script has reported nothing.
        """
        scores, end = self._scores, self._planned_end
        self._has_ended_itself = end > 0  # a script that was not told an end may have ended at any point
        self._last_lines = script.last_lines()
        if self._may_be_its_last:
            scores.place_single(end)
        if self._is_resumed and not scores.num_reported and not scores.has(epoch):
            raise LinesLost
        num_at_once = scores.num_reported - num_before
        if num_at_once > 1 and not num_before and taken_s > _SOON_S:
            self._notes["buffered"] = (
                f"{num_at_once} scores came at once when the script ended; if it buffers what it prints, it "
                "cannot be stopped early: flush after each line"
            )

    @property
    def _may_be_its_last(self) -> bool:
        """Whether its only line, which has no epoch, may be the one that it prints at its end."""
        return self._scores.is_single and self._planned_end > 1

    @property
    def _limit_s(self) -> float:
        is_first = self._reports.are_in_files and not self._scores.num_scored
        return self._spec.timeout_s or (_FIRST_S if is_first else _LONGEST_S)

    @property
    def _lock_s(self) -> float:
        return lock_limit_s(self._spec.graceful_s)

    def _is_unscored(self, epoch: int, budget: Budget) -> bool:
        """Whether the script, which has ended, trained the epoch without a score."""
        end = min(self._own_ends(budget), default=0)
        return self._scores.is_named(epoch) or (epoch <= end and self._scores.is_between(end))

    def _unscored_text(self, epoch: int) -> str:
        spec, scores = self._spec, self._scores
        text = (
            f"the script reported no {spec.metric} for epoch {epoch}, where a rung ends (it did for: "
            f"{scores.scored_epochs()}); set search.ladder.epochs to epochs that it scores, or let it "
            "score this one"
        )
        if self._reports.are_in_files and not scores.num_scored:
            return f"the script reported no {spec.metric} until epoch {epoch}: {self._reports.found}"
        if scores.names and not scores.num_scored:
            return f"{text}; its lines have {', '.join(scores.names)}{suggest(spec.metric, scores.names)}"
        if "until" not in spec.places:
            text += ", such as its last: {until} in run is the epoch at which the rung ends"
        if spec.first_epoch and scores.is_scored(epoch - 1):
            text += "; if it counts epochs from 0, write first_epoch: 0 under search.command"
        return text

    def _own_ends(self, budget: Budget) -> set[int]:
        """The epochs after which the script ends by itself because it was told to."""
        ends = {"until": budget.epochs, "epochs": self._budget.epochs}
        return {end for place, end in ends.items() if place in self._spec.places}

    def _see_the_end(self, script: Script, epoch: int) -> None:
        """Let the script finish after its last epoch, then end it. A score counts however it then ends."""
        script.go()
        try:
            if script.wait(self._spec.graceful_s):
                self._has_ended_itself = True
                self._reports.take_news(script)
            else:
                self._notes["end"] = f"ended {self._spec.graceful_s:g} s after its last epoch"
        except ScriptFailed as error:
            if not self._scores.is_scored(epoch):
                raise
            self._notes["end"] = f"after its last epoch, {str(error).splitlines()[0]}"
        self._end()

    def _ended_early(self) -> Row:
        """Repeat the last score for an epoch that the script did not train.

        Raises:
            BadResult: There is no earlier score.
        """
        last = self._scores.last.values
        if not last:
            raise BadResult(self._nothing_text())
        why = f"the script ended by itself after epoch {self.epochs_done}"
        values = last | ({"num_examples": 0.0} if "num_examples" in last else {})
        return Row(epoch=None, values=values, done_reason=why)

    def _nothing_text(self) -> str:
        metric = self._spec.metric
        if self._reports.are_in_files:
            return f"the script ended without a {metric}: {self._reports.found}"
        printed = "; ".join(line[:_MAX_SHOWN] for line in self._last_lines[-3:]) or "nothing"
        hints = [hint for line in self._last_lines if (hint := hint_in(line, metric))]
        return "; ".join(
            [f"the script ended without a JSON line with {metric}; it printed: {printed}", *hints[-1:]]
        )

    def _end(self) -> None:
        if self._script:
            self._script.end()
            self._script = None

    def _values(self, budget: Budget) -> dict[str, Any]:
        """The values of a command's placeholders, except hyperparameters."""
        context = self._context
        return {
            "epochs": self._budget.epochs,
            "until": budget.epochs,
            "subset": 1.0 if budget.subset is None else budget.subset,
            "resolution": budget.resolution,
            "seed": context.seed,
            "data_seed": context.data_seed,
            "data": context.data if isinstance(context.data, str) else json.dumps(context.data),
            "device": context.device,
            "checkpoint_dir": self._files.checkpoint,
            "args_json_file": self._files.arguments,
            "python": sys.executable,
            "newest": self._files.newest,
        }
