"""Searches with results on a real S3 server, with kills of every part: the server, the network, the search.

    PYTHONPATH=.s3 python -m tests.support.bucket_kills --kills 50 --seed 1

One search after another, each run to its end: at random moments its S3 server is killed and restarted, its
network is cut, or the search itself is killed and resumed, on its own machine or on another one, whose folder
has no copy of the run or an outdated one. At the end the bucket is compared with the folder, and fetched as a
third machine would. `make setup` does not install what this needs; `make test-s3` does.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from search.bucket.address import Address
from search.bucket.fetch import fetch_run, read_bucket
from search.bucket.store import Store
from tests.support.kill_tests import SLOW
from tests.support.killed_searches import assert_nothing_is_lost_or_counted_twice, space_text
from tests.support.processes import ROOT
from tests.support.s3_server import Network, Server

KINDS = ("server", "network", "search", "search, elsewhere")
RESULTS = "s3://bucket/experiments"
# Shorter intervals than in real use, or each kill would cost five minutes of waiting.
_IMPATIENT = """
import sys
sys.path.insert(0, {root!r})
from search.bucket import lease, mirror
lease.BEAT_S = mirror.BEAT_S = 0.5
lease.GONE_S, lease._RACE_S = 2.0, 0.2
mirror._JOURNAL_EVERY_S, mirror._FILES_EVERY_S, mirror._FIRST_RETRY_S = 0.3, 0.6, 0.3
from search.cli import main
sys.exit(main())
"""


class KilledSearch:
    """One search to its end, with kills on the way.

    Args:
        folder: Holds the server's state and the machines' folders.
    """

    def __init__(self, name: str, folder: Path, server: Server, network: Network, rng: random.Random) -> None:
        self.name = name
        self._folder, self._server, self._network, self._rng = folder, server, network, rng
        self._machine = 0
        self._log = folder / f"{name}.log"
        self.kills: Counter[str] = Counter()

    def run(self, most_kills: int) -> None:
        """Search until the command ends by itself."""
        process = self._start()
        while process.poll() is None or self._was_refused(process):
            if process.poll() is not None:
                process = self._start()
            is_enough = sum(self.kills.values()) >= most_kills
            try:
                process.wait(timeout=300 if is_enough else self._rng.uniform(0.2, 2.5))
            except subprocess.TimeoutExpired:
                assert not is_enough, self._log.read_text()[-4000:]
                process = self._kill(process)
        assert process.returncode == 0, self._log.read_text()[-4000:]

    def _was_refused(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether the command could not reach the bucket and started nothing; it is then typed again."""
        return process.returncode == 2 and "nothing was started" in self._log.read_text()[-400:]

    def check(self) -> int:
        """Check that the bucket matches the folder and that a third machine can fetch the whole run.

        Returns the number of the journal's lines.
        """
        address = Address.parse(RESULTS).child(self.name)
        found = read_bucket(Store(address))
        (journal,) = self._staging().rglob(f"{self.name}/journal.jsonl")
        assert found.journals[""] == journal.read_bytes()
        assert found.problems == ()
        assert "lease.json" not in found.keys
        assert found.manifest
        assert found.blobs >= {content.sha256 for content in found.manifest.files.values()}
        missing: list[str] = []
        fetch_run(address, whole := self._folder / "third" / self.name, warn=missing.append)
        assert missing == []
        assert_nothing_is_lost_or_counted_twice(whole)
        return found.journals[""].count(b"\n")

    def _kill(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        kind = self._rng.choice(KINDS)
        down_s = self._rng.uniform(0.0, 1.5)
        if kind == "server":
            self._server.kill()
            time.sleep(down_s)
            self._server.start()
        elif kind == "network":
            self._network.cut()
            time.sleep(down_s)
            self._network.mend()
        else:
            process.send_signal(signal.SIGKILL)
            process.wait()
            self._machine += kind == "search, elsewhere"
            process = self._start()
        self.kills[kind] += 1
        return process

    def _start(self) -> subprocess.Popen[bytes]:
        command = ["search", "--space", "./slow.yaml", "--name", self.name, "--results", RESULTS]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [
                    sys.executable,
                    "impatient.py",
                    *command,
                    "--backend",
                    "local",
                    "--no-report",
                    "--skip-preflight",
                ],
                cwd=self._folder,
                env={**os.environ, "JOULETUNE_STAGING": str(self._staging()), "NO_COLOR": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _staging(self) -> Path:
        """The folder of the current machine, one of two in turns: the first returns to an outdated folder."""
        return self._folder / f"machine-{self._machine % 2}"


def kill_searches(folder: Path, num_kills: int, seed: int) -> Mapping[str, object]:
    """Run searches until `num_kills` kills have happened, and return the counts.

    Sets environment variables of this process.

    Raises:
        AssertionError: Something was lost, or an exit status was not 0.
    """
    rng = random.Random(seed)
    (folder / "slow.py").write_text(SLOW.replace("time.sleep(0.1)", "time.sleep(0.2)"))
    (folder / "slow.yaml").write_text(space_text("./slow.py", "asha", 1))
    (folder / "impatient.py").write_text(_IMPATIENT.format(root=str(ROOT)))
    server = Server(folder)
    network = Network(server.port)
    os.environ.update(
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{network.port}",
        AWS_ACCESS_KEY_ID="an-id-of-a-test",
        AWS_SECRET_ACCESS_KEY="a-secret-of-a-test",
        AWS_DEFAULT_REGION="us-east-1",
    )
    kills: Counter[str] = Counter()
    num_lines = num_searches = 0
    try:
        server.start()
        Address.parse(RESULTS).filesystem().mkdir("bucket")
        while (left := num_kills - sum(kills.values())) > 0:
            num_searches += 1
            search = KilledSearch(f"killed-{num_searches}", folder, server, network, rng)
            search.run(left)
            num_lines += search.check()
            kills += search.kills
    finally:
        server.kill()
    secrets = [path for path in folder.rglob("*") if path.is_file() and _has_secret(path)]
    assert secrets == []
    return {"kills": dict(kills), "searches": num_searches, "lines": num_lines}


def _has_secret(path: Path) -> bool:
    """Whether a file holds the secret; even the server's request log must not, as requests are signed."""
    return b"a-secret-of-a-test" in path.read_bytes()


def main() -> int:
    """Kill the requested number of times and print the outcome."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = kill_searches(Path(folder), options.kills, options.seed)
    print(json.dumps({**found, "seconds": round(time.monotonic() - began_s)}))
    print("each search ended, its bucket has its whole journal, and a third machine has the whole run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
