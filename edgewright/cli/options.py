"""The options of a task: declared once, as typed parameters or as fields of a dataclass.

Each one is `name: Annotated[type, "its line of --help"] = default`; a tuple may be given several
times. A dataclass groups options that belong together: tasks that share it have the same options,
in the same words.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from inspect import Parameter
from typing import Annotated, Any, get_args, get_origin

from invoke.parser.argument import Argument
from invoke.tasks import Task

Body = Callable[..., None]


def flatten(body: Body) -> Body:
    """`body(context, …)` as a function whose parameters are plain options.

    Each parameter that is a dataclass is replaced by its fields. Raises TypeError for an option
    without help.
    """
    context, *parameters = inspect.signature(body).parameters.values()
    groups = {parameter.name: tuple(_options(parameter)) for parameter in parameters}
    options = [option for group in groups.values() for option in group]

    @functools.wraps(body)
    def run(c: Any, **values: Any) -> None:
        values = {option.name: option.default for option in options} | values
        for option in filter(is_repeatable, options):
            values[option.name] = tuple(values[option.name] or ())  # Invoke hands over a list
        arguments = {}
        for parameter in parameters:
            group = {option.name: values[option.name] for option in groups[parameter.name]}
            is_group = is_dataclass(parameter.annotation)
            make: Callable[..., Any] = parameter.annotation
            arguments[parameter.name] = make(**group) if is_group else group[parameter.name]
        body(c, **arguments)

    # Invoke reads the signature, and would see through `wraps` to that of `body`.
    run.__signature__ = inspect.Signature([context, *options])  # type: ignore[attr-defined]
    return run


def _options(parameter: Parameter) -> Iterator[Parameter]:
    options = [parameter]
    if is_dataclass(parameter.annotation):
        options = [
            parameter.replace(
                name=field.name,
                default=Parameter.empty if field.default is MISSING else field.default,
                annotation=field.type,
            )
            for field in fields(parameter.annotation)
        ]
    for option in options:
        # Invoke collects the values of an option in a list only if its default is None.
        yield option.replace(default=None) if is_repeatable(option) else option


# Short flags, by option: each means the same in every task. Invoke would take the first letter
# that is free, so that -j was jobs here and json there.
SHORT = {"board": "b", "json": "j", "key": "k", "model": "m", "yes": "y"}


class _Task(Task[Body]):
    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """Invoke's takes each text of help out of the task, and has none the second time."""
        texts = dict(self.help)
        try:
            return super().get_arguments(ignore_unknown_help)
        finally:
            self.help = texts

    def arg_opts(self, name: str, default: Any, taken_names: set[str]) -> dict[str, Any]:
        options = super().arg_opts(name, default, taken_names)
        if name in SHORT:
            options["names"].append(SHORT[name])
        return options


def make_task(body: Body, *, name: str | None = None) -> Task[Body]:
    """An Invoke task of a function with plain options.

    Invoke derives long flags from names and defaults of the parameters. Raises TypeError for an
    option without help.
    """
    _, *options = inspect.signature(body).parameters.values()
    return _Task(
        body,
        name=name,
        auto_shortflags=False,
        help={option.name.replace("_", "-"): _annotation(option)[1] for option in options},
        iterable=[option.name for option in options if is_repeatable(option)],
    )


def is_repeatable(option: Parameter) -> bool:
    """Whether an option may be given several times: its type is a tuple."""
    return get_origin(_annotation(option)[0]) is tuple


def _annotation(option: Parameter) -> tuple[Any, str]:
    """Type and help of an option."""
    if get_origin(option.annotation) is not Annotated:
        raise TypeError(f"option '{option.name}': expected Annotated[type, 'help']")
    kind, text = get_args(option.annotation)
    return kind, text
