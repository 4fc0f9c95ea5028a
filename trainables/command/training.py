"""A training that is a script of any kind: started, listened to, held between epochs, and ended."""

from __future__ import annotations

import dataclasses
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trainables.command.files import Files, Lines
from trainables.command.rows import Row, read_row
from trainables.command.script import Script
from trainables.command.spec import CommandSpec
from trainables.contract import BadResult, Budget, Env

_LOOK_EVERY_S = 0.01  # 0.1 % of a core


class _LinesLost(Exception):
    """The script was killed between saving an epoch and printing it: only a new beginning gives its score."""


class CommandTraining:
    """A `Training` whose state is the script's own checkpoint folder.

    One process trains as many epochs as it can: another one is started where the command changes (a rung
    with another subset, resolution or end) and after the training was interrupted. What the script
    prints goes to a file, so lines of before a kill are still there.

    Without `Env.folder` all files lie in a temporary folder, and `state_dict` holds the checkpoint.
    """

    def __init__(self, spec: CommandSpec, hparams: Any, horizon: Budget, env: Env) -> None:
        self._spec, self._hparams = spec, dataclasses.asdict(hparams)
        self._horizon, self._env = horizon, env
        self._scratch = None if env.folder else TemporaryDirectory(prefix="jouletune-script-")
        self._files = Files(env.folder or Path(self._scratch.name if self._scratch else ""))
        self._script: Script | None = None
        self._command: list[str] = []
        self._rows: dict[int, Row] = {}
        self._last = Row(epoch=None, values={})
        self._is_new = True
        self._notes: dict[str, str] = {}
        self._said: list[str] = []
        self._num_told = 0
        self._is_resumed = False
        self.epochs_done = 0
        self.why_done = ""

    def run_epoch(self, budget: Budget) -> Mapping[str, float]:
        """Wait for the next line of the script that has the metric.

        Raises:
            BadResult: The script ended without one, or counted its epochs in another order.
            ScriptFailed: It ended with an error, or took longer than `timeout_s`.
        """
        epoch = self.epochs_done + 1
        if epoch not in self._rows:
            self._train(epoch, budget)
        if self._script and epoch in self._own_ends(budget):
            self._see_the_end(self._script)
        self._last = self._rows.pop(epoch) if epoch in self._rows else self._ended_early()
        self.epochs_done = epoch
        self.why_done = self._last.why_done
        return self._last.values

    def test(self) -> Mapping[str, float]:
        """Run the command of the test set and give the numbers of its last line that has the metric."""
        self._end()
        line = self._spec.test_line(self._hparams, self._values(self._horizon))
        script = self._started(line, self._files.test_stdout)
        if not script.wait(self._spec.timeout_s):
            raise BadResult(f"search.command.test took longer than {self._spec.timeout_s:g} s")
        rows = [read_row(line, self._spec.test_metric) for line in script.listen()[0]]
        found = [row.values for row in rows if row]
        if not found:
            raise BadResult(f"search.command.test printed no JSON line with {self._spec.test_metric}")
        return found[-1]

    def notes(self) -> Mapping[str, str]:
        return self._notes

    def state_dict(self) -> dict[str, Any]:
        last = {"values": self._last.values, "why_done": self.why_done}
        return {"epochs_done": self.epochs_done, "last": last, **(self._packed() if self._scratch else {})}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._is_new = False
        self.epochs_done = state["epochs_done"]
        self._last = Row(epoch=self.epochs_done, **state["last"])
        self.why_done = self._last.why_done
        self._files.unpack(state.get("files", {}))
        self._rows = {row["epoch"]: Row(**row) for row in state.get("rows", [])}
        if self._spec.resume:
            with self._files.locked():  # whoever ran the script before may still be ending it
                for line in Lines(self._files.stdout, is_from_end=False).new(is_final=True):
                    self._take(line)

    def _packed(self) -> dict[str, Any]:
        """The script's checkpoint, with the lines of epochs it has already trained."""
        if self._script:
            for line in self._script.listen()[0]:
                self._take(line)
        rows = [{**dataclasses.asdict(row), "epoch": epoch} for epoch, row in sorted(self._rows.items())]
        return {"files": self._files.packed(), "rows": rows}

    def _train(self, epoch: int, budget: Budget) -> None:
        """Let the script train until it has told of `epoch` or ends."""
        command = self._spec.run_line(self._hparams, self._values(budget))
        if command != self._command:
            self._start(command)
        elif self._script:
            self._script.go()
        if self._script is None:
            return  # it has ended by itself
        try:
            has_ended = self._listen(self._script, epoch)
        except _LinesLost:
            self._is_new = True
            self._start(command)
            has_ended = self._listen(self._script, epoch)
        self._notes["pid"] = self._files.lock.read_text()
        if has_ended:
            self._script = None
        else:
            self._script.hold()

    def _start(self, command: list[str]) -> None:
        self._end()
        if self._is_new:
            self._files.clear()
            self._is_new = False
        arguments = []
        self._is_resumed = self._has_state()
        if self._is_resumed:
            arguments = self._spec.resume_arguments(self._hparams, self._values(self._horizon))
        elif self.epochs_done:
            self._notes["repeated"] = f"epochs 1 to {self.epochs_done} trained again: the script began anew"
        self._num_told = 0
        self._script = self._started([*command, *arguments], self._files.stdout)
        self._command = command
        self._notes["command"] = shlex.join([*command, *arguments])

    def _started(self, argv: list[str], stdout: Path) -> Script:
        spec = self._spec
        if spec.needs_json_file:
            self._files.arguments.write_text(spec.json_of(self._hparams), encoding="utf-8")
        return Script(
            argv, self._files, stdout=stdout, cwd=spec.folder, env=spec.env, graceful_s=spec.graceful_s
        )

    def _has_state(self) -> bool:
        """Whether the script has something to go on from."""
        return bool(self._spec.resume) and self._files.has_checkpoint

    def _listen(self, script: Script, epoch: int) -> bool:
        """Take in what it prints until it has told of `epoch`; whether it ended before."""
        limit_s, started_s = self._spec.timeout_s, time.monotonic()
        has_ended = False
        while epoch not in self._rows and not has_ended:
            lines, has_ended = script.listen()
            for line in lines:
                self._take(line)
            if limit_s and time.monotonic() - started_s > limit_s:
                raise BadResult(f"the script printed no {self._spec.metric} within {limit_s:g} s")
            if not lines:
                time.sleep(_LOOK_EVERY_S)
        if has_ended and epoch not in self._rows:
            self._said = script.last_lines()[-3:]
            if self._is_resumed and not self._num_told:
                raise _LinesLost
        return has_ended

    def _take(self, line: str) -> None:
        row = read_row(line, self._spec.metric)
        if row is None:
            return
        self._num_told += 1
        if row.epoch is None and self._spec.resume:
            raise BadResult('with search.command.resume each line needs its "epoch", counted from 1')
        epoch = row.epoch or self._num_told
        expected = max(self._rows, default=self.epochs_done) + 1
        if epoch > expected and self._is_resumed and self._num_told == 1:
            raise _LinesLost
        if epoch > expected:
            raise BadResult(f"the script printed epoch {epoch} where epoch {expected} comes next")
        if epoch == expected:  # others it trained again, because its checkpoint was older than its lines
            self._rows[epoch] = row

    def _own_ends(self, budget: Budget) -> set[int]:
        """The epochs after which the script ends by itself, because it was told so."""
        ends = {"until": budget.epochs, "epochs": self._horizon.epochs}
        return {end for place, end in ends.items() if place in self._spec.places}

    def _see_the_end(self, script: Script) -> None:
        """Let it do what it does after its last epoch."""
        script.go()
        if not script.wait(self._spec.graceful_s):
            self._notes["end"] = f"ended {self._spec.graceful_s:g} s after its last epoch"
        self._end()

    def _ended_early(self) -> Row:
        """The last score again, for an epoch that the script did not train."""
        if not self._last.values:
            said = "; ".join(self._said) or "nothing"
            raise BadResult(
                f"the script ended without a JSON line with {self._spec.metric}; it printed: {said}"
            )
        why = f"the script ended by itself after epoch {self.epochs_done}"
        values = self._last.values | ({"num_samples": 0.0} if "num_samples" in self._last.values else {})
        return Row(epoch=None, values=values, why_done=why)

    def _end(self) -> None:
        if self._script:
            self._script.end()
            self._script = None

    def _values(self, budget: Budget) -> dict[str, Any]:
        """What the places of a command are filled with, hyperparameters apart."""
        env = self._env
        return {
            "epochs": self._horizon.epochs,
            "until": budget.epochs,
            "subset": 1.0 if budget.subset is None else budget.subset,
            "resolution": budget.resolution,
            "seed": env.seed,
            "data_seed": env.data_seed,
            "data": env.data,
            "device": env.device,
            "checkpoint_dir": self._files.checkpoint,
            "args_json_file": self._files.arguments,
            "python": sys.executable,
        }
