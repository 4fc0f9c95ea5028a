"""One run of a command as a process of its own, which ends with its owner."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from trainables.command.files import Files, Lines
from trainables.command.launcher import without_launchers_lines
from trainables.command.rows import read_object
from trainables.core.contract import ScriptFailed

_GUARDIAN = Path(__file__).with_name("guardian.py")
_SLACK_S = 10.0  # what the guardian needs beside the time it gives its command
_RANKS_ERROR = re.compile(r"\[rank\d+\]: (?:\w+\.)*\w+(?:Error|Exception|Interrupt)(?:: |$)")
_KILLED_S = 5.0  # a process in an uninterruptible read of a lost disk takes no signal at all


class Script:
    """A command that runs, stands still, or has ended. It is ended when this object goes.

    Args:
        stdout: The file its output is added to.
        cwd: The folder it runs in.
        graceful_s: Between SIGTERM and SIGKILL.
    """

    def __init__(
        self,
        argv: Sequence[str],
        files: Files,
        *,
        stdout: Path,
        cwd: Path,
        env: Mapping[str, str],
        graceful_s: float,
    ) -> None:
        self._errors = Lines(files.stderr, is_from_end=True)
        self._lines = Lines(stdout, is_from_end=True)
        self._has_printed = False  # an object, on standard output
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
                env={**os.environ, **env, "PYTHONUNBUFFERED": "1"},  # a line is read when it is printed
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                bufsize=0,
                start_new_session=True,
            )
        self._end = weakref.finalize(self, _ended, self._process, graceful_s + _SLACK_S)

    def listen(self) -> tuple[list[str], bool]:
        """The lines it has printed since the last call, and whether they are its last.

        On standard output; of a script that has written no object there, as one that uses Python's `logging`,
        those on standard error too.

        Raises:
            ScriptFailed: It ended with an error, and all it printed was given before.
        """
        status = self._process.poll()  # first, so that all it printed is read after its end
        lines = self._lines.new(is_final=status is not None)
        self._has_printed = self._has_printed or any(map(read_object, lines))
        if not self._has_printed:
            lines += self._errors.new(is_final=status is not None)
        if status and not lines:
            raise _failure(status, self._errors.last(without_launchers_lines))
        return lines, status == 0

    def last_lines(self) -> list[str]:
        """Of standard output, or of standard error where nothing was printed there."""
        return self._lines.last() or self._errors.last()

    def wait(self, most_s: float | None) -> bool:
        """Let it come to its end by itself; False if it takes longer than `most_s`, None being any.

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
        """Let it stand still, so that it uses nothing between two epochs."""
        self._order(b"h")

    def go(self) -> None:
        self._order(b"g")

    def end(self) -> None:
        """End it with everything it started; returns when nothing is left."""
        self._end()

    def _order(self, order: bytes) -> None:
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it has ended by itself
            self._process.stdin.write(order)


def lock_limit_s(graceful_s: float) -> float:
    """How long a script is waited for that ends elsewhere: what its guardian may take, twice."""
    return 2 * (graceful_s + _SLACK_S)


def _failure(status: int, last: Sequence[str]) -> ScriptFailed:
    how = f"was killed by signal {status - 128}" if status > 128 else f"ended with status {status}"
    last_line = last[-1] if last else "it printed no error"
    # Where ranks are many, the one that failed first has said why, and others lost their connection to it.
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
