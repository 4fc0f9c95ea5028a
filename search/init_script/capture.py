"""Runs a script until it parses its arguments, and writes its flags to a file. Standard library only.

It is started with the script's own Python, as a file:

    python capture.py OUT.json SCRIPT ARGUMENT...

The plain `--help` of argparse shows no defaults, so the parser itself is asked: whatever library the script
uses, the function that would parse is replaced by one that writes the flags to OUT.json and ends the process.
Nothing of the script runs after that point; what ran before it also runs before `--help` answers.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import json
import runpy
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

Plain = dict[str, Any]
_PLAIN = (bool, int, float, str)
_words: list[str] = []  # words before the flags, from the first that no subcommand has taken
_subcommands: dict[str, None] = {}  # subcommands that the words could have named but did not


class Found(SystemExit):
    """The flags have been written; being a SystemExit, it passes through `except Exception`."""


def main() -> None:
    """Run the script with each library's parser replaced."""
    out, script, *arguments = sys.argv[1:]
    sys.argv = [script, *arguments]
    _words.extend(arguments)
    sys.path[0] = str(Path(script).resolve().parent)

    def replace(owner: Any, name: str, library: str, flags_of: Callable[..., Iterable[Plain]]) -> None:
        parse = getattr(owner, name)

        def write(*args: Any, **more: Any) -> Any:
            try:
                flags = list(flags_of(*args, **more))
                found = {"library": library, "flags": flags, "subcommands": list(_subcommands)}
            except Exception:  # another version of the library: the text of its --help is read instead
                return parse(*args, **more)
            Path(out).write_text(json.dumps(found), encoding="utf-8")
            raise Found(0)

        setattr(owner, name, write)

    for of_library in (_argparse, _jsonargparse, _click, _absl, _fire):
        with suppress(ImportError):
            of_library(replace)
    runpy.run_path(script, run_name="__main__")


Replace = Callable[[Any, str, str, Callable[..., Iterable[Plain]]], None]


def _argparse(replace: Replace) -> None:
    for name in ("parse_args", "parse_known_args", "parse_intermixed_args"):
        replace(
            argparse.ArgumentParser,
            name,
            "argparse",
            lambda parser, *_, **__: _of_actions(_addressed(parser)),
        )


def _chosen(commands: Iterable[str]) -> str | None:
    """Return the subcommand that the words before the flags name; if they name none, record all of them."""
    known = list(commands)
    for place, word in enumerate(_words, start=1):
        if word in known:
            del _words[:place]  # the rest belongs to the subcommand
            return word
    _subcommands.update(dict.fromkeys(known))
    return None


def _addressed(parser: Any) -> Any:
    """Return the parser of the subcommand that the given words name, at any depth, or the parser itself."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) and (name := _chosen(action.choices)):
            return _addressed(action.choices[name])
    return parser


def _jsonargparse(replace: Replace) -> None:
    """Replace the parser of Lightning, which parses in its own way: its flags are read with all defaults."""

    def flags_of(parser: Any, *_: Any, **__: Any) -> Iterable[Plain]:
        parser = _addressed(parser)
        defaults = _flat(parser.get_defaults(skip_validation=True).as_dict())
        flags = list(_of_actions(parser))
        known = {flag["name"] for flag in flags}
        flags += [_flag(name, f"--{name}", value) for name, value in defaults.items() if name not in known]
        return [{**flag, "default": _plain(defaults.get(flag["name"], flag["default"]))} for flag in flags]

    parser = importlib.import_module("jsonargparse").ArgumentParser
    replace(parser, "parse_args", "jsonargparse", flags_of)


def _click(replace: Replace) -> None:
    """Replace the parser of click, and of typer where that is built on it."""
    click = importlib.import_module("click")
    owners = [click.Command]
    with suppress(ImportError, AttributeError):
        core = importlib.import_module("typer.core")
        owners += [core.TyperCommand, core.TyperGroup]
    for owner in owners:
        replace(owner, "main", "click", lambda command, *_, **__: list(_of_click(click, command)))


def _of_click(click: Any, command: Any, above: Any = None) -> Iterable[Plain]:
    context = click.Context(command, parent=above)
    if hasattr(command, "list_commands") and (name := _chosen(command.list_commands(context))):
        yield from _of_click(click, command.get_command(context, name), context)
        return
    for option in command.params:
        spelled = [each for each in option.opts if each.startswith("--")] or list(option.opts)
        if option.param_type_name != "option" or option.name == "help":
            continue
        name = spelled[0].lstrip("-")
        if option.is_flag and option.secondary_opts:
            spelled = [f"{spelled[0]}/{option.secondary_opts[0]}"]
        default = option.get_default(context)
        choices = [getattr(each, "value", each) for each in getattr(option.type, "choices", ())]
        kind = "bool" if option.is_flag else {"integer": "int", "float": "float"}.get(option.type.name, "str")
        yield _flag(
            name,
            spelled[0],
            default,
            kind=kind,
            choices=choices,
            help=option.help,
            is_required=option.required,
        )


def _absl(replace: Replace) -> None:
    app = importlib.import_module("absl.app")
    values = importlib.import_module("absl.flags").FLAGS

    def flags_of(main: Any, *_: Any, **__: Any) -> Iterable[Plain]:
        own = values.get_key_flags_for_module(sys.argv[0]) or values.get_key_flags_for_module(main.__module__)
        return [_of_absl(each) for each in own]

    replace(app, "run", "absl", flags_of)


def _of_absl(each: Any) -> Plain:
    kind = {"int": "int", "float": "float", "bool": "bool"}.get(each.flag_type().partition(" ")[0], "str")
    spelled = f"--{each.name}/--no{each.name}" if kind == "bool" else f"--{each.name}"
    choices = getattr(each.parser, "enum_values", None)
    return _flag(each.name, spelled, each.default, kind=kind, choices=choices, help=each.help)


def _fire(replace: Replace) -> None:
    def flags_of(component: Any = None, *_: Any, **__: Any) -> Iterable[Plain]:
        parts = [_own_names() if component is None else component]
        while (members := _members(parts[-1])) and (name := _chosen(members)):
            parts.append(members[name])
        parameters = [
            each for part in parts if callable(part) for each in inspect.signature(part).parameters.values()
        ]
        return [
            _of_parameter(each)
            for each in parameters
            if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD) and each.name != "self"
        ]

    replace(importlib.import_module("fire"), "Fire", "fire", flags_of)


def _own_names() -> dict[str, Any]:
    """Return what the script itself defines, which fire uses if it is given nothing."""
    own = vars(sys.modules["__main__"]).items()
    return {name: each for name, each in own if callable(each) and each.__module__ == "__main__"}


def _members(component: Any) -> dict[str, Any]:
    """Return what a word may name in a component of fire; nothing for a function."""
    if isinstance(component, dict):
        return component
    if inspect.isroutine(component):
        return {}
    return {name: each for name, each in inspect.getmembers(component, inspect.isroutine) if name[0] != "_"}


def _of_parameter(each: inspect.Parameter) -> Plain:
    default = None if each.default is each.empty else each.default
    return _flag(each.name, f"--{each.name}=", default, is_required=each.default is each.empty)


def _of_actions(parser: argparse.ArgumentParser) -> Iterable[Plain]:
    """Yield the options and required positionals of an argparse parser, without those of its subcommands."""
    for action in parser._actions:
        spelled = [each for each in action.option_strings if each.startswith("--")] or list(
            action.option_strings
        )
        if isinstance(action, argparse._HelpAction | argparse._VersionAction | argparse._SubParsersAction):
            continue
        if not spelled:
            if action.required:
                yield _flag(action.dest, "", None, help=action.help, is_required=True)
            continue
        is_switch = action.nargs == 0
        pair = next((each for each in spelled if each.startswith("--no-")), "")
        text = f"{spelled[0]}/{pair}" if pair and len(spelled) > 1 else spelled[0]
        default = action.default if action.default is not argparse.SUPPRESS else None
        if isinstance(default, str) and callable(action.type):
            with suppress(Exception):  # as argparse itself does with a default that is text
                default = action.type(default)
        yield _flag(
            spelled[0].lstrip("-"),
            text,
            default,
            kind="bool" if is_switch or text != spelled[0] else _kind_of(action.type, default),
            choices=[getattr(each, "value", each) for each in action.choices or ()],
            help=action.help,
            is_required=action.required,
            has_no_false=is_switch and bool(default) and text == spelled[0],
        )


def _kind_of(kind: Any, default: Any) -> str:
    name = getattr(kind, "__name__", "")
    return name if name in ("int", "float", "str", "bool") else _kind(default)


def _flag(
    name: str,
    spelled: str,
    default: Any,
    *,
    kind: str = "",
    choices: Iterable[Any] | None = None,
    help: str | None = None,
    is_required: bool = False,
    has_no_false: bool = False,
) -> Plain:
    plain = [each for each in choices or () if isinstance(each, _PLAIN)]
    words = str(help or "")
    return {
        "name": name,
        "spelled": spelled,
        "default": _plain(default),
        "kind": kind or _kind(default),
        "choices": plain,
        "help": f"{words} (if given, the opposite of the default)" if has_no_false else words,
        "is_required": bool(is_required),
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: an enum's member as its value, anything that JSON lacks as None."""
    value = getattr(value, "value", value) if not isinstance(value, _PLAIN) else value
    if isinstance(value, list | tuple) and all(isinstance(each, _PLAIN) for each in value):
        return list(value)
    return value if isinstance(value, _PLAIN) else None


def _kind(value: Any) -> str:
    return next((kind.__name__ for kind in _PLAIN if type(value) is kind), "")


def _flat(plain: Any, before: str = "") -> Plain:
    if dataclasses.is_dataclass(plain) and not isinstance(plain, type):
        plain = vars(plain)
    if not isinstance(plain, dict):
        return {before.removesuffix("."): plain}
    flat: Plain = {}
    for name, value in plain.items():
        flat |= _flat(value, f"{before}{name}.")
    return flat


if __name__ == "__main__":
    main()
