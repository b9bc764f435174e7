"""What a person mistyped, as a `UserError` with the near miss."""

import re
from collections.abc import Mapping, Sequence

from invoke.exceptions import ParseError
from invoke.parser.argument import Argument
from invoke.parser.context import ParserContext

from edgewright.base.errors import UserError, near_miss
from edgewright.cli import commands
from edgewright.cli.words import program_name

NUMBERS = {int: "a whole number", float: "a number"}

# Invoke's parser tells its errors apart by these words alone.
MISSING = re.compile(r"'.+' did not receive required positional arguments: (?P<names>.+)")
NO_VALUE = re.compile(r"Flag <Argument: (?P<name>\S+).*> needed value")
UNKNOWN = re.compile(r"No idea what '(?P<word>.*)' is!")


def require_sound(
    words: Sequence[str], tasks: Mapping[str, ParserContext], core: ParserContext
) -> None:
    """Look at each option of a command line before Invoke parses it.

    Invoke would take `--bord=x` for the value of an argument that is still missing, and a word
    for a number ends it with a traceback. Raises UserError.
    """
    task: ParserContext | None = None
    option: Argument | None = None  # the one that waits for its value in the next word
    for word in words:
        name, equals, value = word.partition("=")
        if option:
            _require_number(task, option, word)
            option = None
        elif word == "--":
            return
        elif word in tasks:
            task = tasks[word]
        elif not word.startswith("--"):
            if task is None and not word.startswith("-"):
                raise unknown_task(word)
        elif (argument := _option(name, task, core)) and argument.takes_value:
            if equals:
                _require_number(task, argument, value)
            option = None if equals or argument.optional else argument


def require_one_document(tasks: Sequence[ParserContext]) -> None:
    """Raises UserError if a task beside others is to write a document: two would be none."""
    if len(tasks) > 1 and any("json" in task.args and task.args.json.value for task in tasks):
        raise UserError(
            f"{program_name()} {' '.join(str(task.name) for task in tasks)}",
            f"{len(tasks)} tasks in one call, and --json is one document",
            next="a call for each task, with a --json of its own",
        )


def _option(name: str, task: ParserContext | None, core: ParserContext) -> Argument | None:
    """An option by its name; None for one that switches a flag off. Raises UserError."""
    contexts = (task, core) if task else (core,)
    for context in contexts:
        if name in context.flags:
            argument: Argument = context.flags[name]
            return argument
        if name in context.inverse_flags:
            return None
    flags = [flag for context in contexts for flag in context.flag_names()]
    problem = f"no option {name}{near_miss(name, flags)}"
    if task is None:
        raise UserError(program_name(), problem, next="edgewright --help")
    raise UserError(_subject(task), problem, next=f"edgewright {task.name} --help")


def _require_number(task: ParserContext | None, option: Argument, value: str) -> None:
    if option.kind in NUMBERS and task:
        try:
            option.kind(value)
        except ValueError:
            raise UserError(
                _subject(task),
                f"{_flag(str(option.name))}: expected {NUMBERS[option.kind]}, found '{value}'",
                next=f"edgewright {task.name} --help",
            ) from None


def unknown_task(word: str) -> UserError:
    if word.startswith("-"):
        return UserError(program_name(), f"no option {word}", next="edgewright --help")
    near = near_miss(word, [*commands.names()])
    return UserError(f"{program_name()} {word}", f"no such task{near}", next="edgewright --list")


def in_our_words(error: ParseError) -> UserError:
    """An error of Invoke's parser, in our shape."""
    task, text = error.context, str(error)
    if task is None or task.name is None:
        match = UNKNOWN.match(text)
        return unknown_task(match["word"]) if match else UserError(program_name(), text)
    if match := MISSING.match(text):
        options = match["names"].replace("'", "").split(", ")
        text = f"expected {', '.join(f'{_flag(name)}=…' for name in options)}"
    elif match := NO_VALUE.match(text):
        text = f"{_flag(match['name'])}: expected a value"
    elif match := UNKNOWN.match(text):
        kind = "no option" if match["word"].startswith("-") else "unexpected word"
        text = f"{kind} {match['word']}"
    return UserError(_subject(task), text, next=f"edgewright {task.name} --help")


def _flag(argument: str) -> str:
    return f"--{argument.replace('_', '-')}"


def _subject(task: ParserContext) -> str:
    return f"{program_name()} {task.name}"
