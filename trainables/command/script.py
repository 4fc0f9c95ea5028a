"""One run of a command in a separate process, which ends with its owner."""

from __future__ import annotations

import re
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from trainables.command.files import Files, Lines
from trainables.command.launcher import without_launchers_lines
from trainables.command.rows import flat, read_object
from trainables.core.contract import ScriptFailed

_GUARDIAN = Path(__file__).with_name("guardian.py")
_SLACK_S = 10.0  # for the guardian, beyond the time that it gives its command
_RANKS_ERROR = re.compile(r"\[rank\d+\]: (?:\w+\.)*\w+(?:Error|Exception|Interrupt)(?:: |$)")
_KILLED_S = 5.0  # a process in an uninterruptible read of a lost disk takes no signal at all


class Script:
    """A command that is running, suspended or ended. Destroying this object ends it.

    Args:
        metric: The value whose line on standard output says that scores are printed there.
        stdout: File to which its output is appended.
        cwd: Folder in which it runs.
        env: All its variables.
        graceful_s: Seconds between SIGTERM and SIGKILL.
    """

    def __init__(
        self,
        argv: Sequence[str],
        files: Files,
        *,
        metric: str,
        stdout: Path,
        cwd: Path,
        env: Mapping[str, str],
        graceful_s: float,
    ) -> None:
        self._errors = Lines(files.stderr, is_from_end=True)
        self._lines = Lines(stdout, is_from_end=True)
        self._metric, self._has_printed = metric, False  # on standard output
        command: list[str | Path] = [
            sys.executable,
            "-I",
            "-S",
            _GUARDIAN,
            files.lock,
            str(lock_limit_s(graceful_s)),
            str(graceful_s),
            *argv,
        ]
        with stdout.open("ab") as out, files.stderr.open("ab") as err:
            self._process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**env, "PYTHONUNBUFFERED": "1"},  # lines arrive as they are printed
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                bufsize=0,
                start_new_session=True,
            )
        self._end = weakref.finalize(self, _ended, self._process, graceful_s + _SLACK_S)

    def listen(self) -> tuple[list[str], bool]:
        """Return the lines printed since the last call, and whether it ended without an error.

        The lines are those on standard output, and also those on standard error until the metric is printed
        on standard output: Python's `logging` writes to standard error.

        Raises:
            ScriptFailed: It ended with an error, and all its lines were returned before.
        """
        status = self._process.poll()  # first, so that output printed right before its end is read below
        lines = self._lines.new(is_final=status is not None)
        self._has_printed = self._has_printed or any(
            self._metric in flat(read_object(line) or {}) for line in lines
        )
        if not self._has_printed:
            lines += self._errors.new(is_final=status is not None)
        if status and not lines:
            raise _failure(status, self._errors.last(without_launchers_lines))
        return lines, status == 0

    def last_lines(self) -> list[str]:
        """The last lines of standard output, or of standard error if that is empty."""
        return self._lines.last() or self._errors.last()

    def wait(self, most_s: float | None) -> bool:
        """Wait for it to end by itself; return False if that takes longer than `most_s`, unless that is None.

        Raises:
            ScriptFailed: It ended with an error.
        """
        try:
            status = self._process.wait(most_s)
        except subprocess.TimeoutExpired:
            return False
        if status:
            raise _failure(status, self._errors.last(without_launchers_lines))
        return True

    def hold(self) -> None:
        """Suspend it, so that it uses no processor time between two epochs."""
        self._order(b"h")

    def go(self) -> None:
        self._order(b"g")

    def end(self) -> None:
        """End it with everything that it started, and return when no process is left."""
        self._end()

    def _order(self, order: bytes) -> None:
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it has already ended
            self._process.stdin.write(order)


def lock_limit_s(graceful_s: float) -> float:
    """Seconds to wait for a script that is ending elsewhere: twice what its guardian may take."""
    return 2 * (graceful_s + _SLACK_S)


def _failure(status: int, last: Sequence[str]) -> ScriptFailed:
    how = f"was killed by signal {status - 128}" if status > 128 else f"ended with status {status}"
    last_line = last[-1] if last else "it printed no error"
    # With several ranks, the first to fail has printed the cause; the others then lost their connection.
    last_line = next((line for line in last if _RANKS_ERROR.match(line)), last_line)
    error = re.match(r"(?:\[rank\d+\]: )?(?:\w+\.)*(\w+)(?:: |$)", last_line)
    return ScriptFailed("\n".join([f"the script {how}: {last_line}", *last]), error[1] if error else "")


def _ended(process: subprocess.Popen[bytes], most_s: float) -> None:
    assert process.stdin
    process.stdin.close()
    try:
        process.wait(most_s)
    except subprocess.TimeoutExpired:
        process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_KILLED_S)
