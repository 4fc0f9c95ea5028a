"""The environment of a process that trains: where the program is, that no hub is asked, and the seeds.

A variable that is set after a process has begun may come too late: huggingface_hub reads HF_HUB_OFFLINE once,
when it is imported. So what workers need is in the environment that they are started with.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]

_WORKER_ENV = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a trainable's relative paths mean the user's folder
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
# A trial whose weights are missing fails at once instead of asking a hub for 23 s; preflight checks first.
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
# What a script under search gets instead, so that it runs as by hand (`trainables/command/spec.py`).
_BEFORE = "JOULETUNE_ENV_BEFORE"
_FORWARDED = (
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_ENDPOINT",
    "TORCH_HOME",
    "XDG_CACHE_HOME",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "JOULETUNE_CACHE",
    "JOULETUNE_CPU_PRECISION",
    "JOULETUNE_DATA",
)


def offer_worker_env() -> None:
    """Set the variables that workers inherit, in this process, before Ray is started.

    A runtime environment would act too late: the workers that Ray starts in advance have none, and would be
    replaced.
    """
    env = _WORKER_ENV | _unless_given(_OFFLINE) | {"PYTHONPATH": _python_path()}
    os.environ.update({_BEFORE: _replaced(env)} | env)


def _unless_given(env: dict[str, str]) -> dict[str, str]:
    return {name: os.environ.get(name, value) for name, value in env.items()}


def _python_path() -> str:
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join(dict.fromkeys([str(ROOT), *filter(None, given)]))


@contextmanager
def restored_environment() -> Iterator[None]:
    """Restore the caller's environment variables on exit.

    Workers are offline, and a notebook outlives a search. Only Ray's token stays: Ray keeps the first that
    this process has had.
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        token = {name: value for name, value in os.environ.items() if name == "RAY_AUTH_TOKEN"}
        os.environ.clear()
        os.environ.update(before | token)


def runtime_env() -> dict[str, object]:
    """The runtime environment of a cluster's workers: the program, and the variables that name caches."""
    forwarded = {name: os.environ[name] for name in _FORWARDED if name in os.environ}
    packages = [str(ROOT / name) for name in ("search", "trainables")]
    before = {_BEFORE: _replaced(_WORKER_ENV | _OFFLINE)}
    return {"env_vars": {**_WORKER_ENV, **_OFFLINE, **forwarded, **before}, "py_modules": packages}


def _replaced(env: Mapping[str, str]) -> str:
    """The values that `env` replaces, as JSON; null for a variable that was not set."""
    return os.environ.get(_BEFORE) or json.dumps({name: os.environ.get(name) for name in env})


def seed_all(seed: int) -> None:
    """Seed random, numpy and torch, so that a trainable that does not finds the same state in any worker."""
    random.seed(seed)
    if "numpy" in sys.modules:  # it loads its generator on first use, long after its import
        importlib.import_module("numpy.random").seed(seed % 2**32)
    if (torch := sys.modules.get("torch")) and hasattr(torch, "manual_seed"):
        torch.manual_seed(seed)
