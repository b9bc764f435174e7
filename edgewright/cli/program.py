"""The program: Invoke's, with our errors, our lists, and an import of what is asked for alone."""

import gc
import inspect
import os
import re
import select
import signal
import sys
from pathlib import Path

from invoke.collection import Collection
from invoke.completion.complete import complete
from invoke.exceptions import Exit, ParseError, UnknownFileType
from invoke.parser.argument import Argument
from invoke.parser.parser import Parser
from invoke.program import Program

from edgewright.base.errors import EdgewrightError, ExitCode, UserError
from edgewright.base.faults import INTERRUPTED, fault_of
from edgewright.cli import commands, mistakes
from edgewright.cli.words import INVOKE, as_called, program_name

FORMATS = ("flat", "nested", "json")  # of lists
USAGE = "edgewright TASK [--option=value …] [TASK …]"
MORE = (
    "edgewright TASK --help explains a task, edgewright --list=bench lists a group,\n"
    "edgewright help the rest, edgewright help TOPIC a topic."
)


def main() -> None:
    """The console script `edgewright`."""
    # We have no plugin for Pydantic; searching all installed packages for one takes a fifth of
    # the time that `boards` takes.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # What is imported stays; looking for garbage among it takes a sixth of the start of `boards`.
    gc.disable()
    # Python has None for a stream that whoever started us closed (`>&-`).
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    interrupt_on_signals()
    Edgewright().run()


def interrupt_on_signals() -> None:
    """A pipeline that is cancelled and a line that is lost end the work as Ctrl-C does.

    Otherwise what was started on this machine, a build in a container above all, would go on.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # `nohup` has it ignored
            signal.signal(number, signal.default_int_handler)


def take_over_invoke() -> None:
    """Run and exit, if the program `invoke` is what loads our tasks.

    Invoke offers no other way to change its lists, its errors and their exit code.
    """
    if Path(sys.argv[0]).name in INVOKE:
        main()
        sys.exit(ExitCode.OK)


class Edgewright(Program):
    """Invoke's `Program` over the tasks of `edgewright.cli.commands`."""

    def __init__(self) -> None:
        called = program_name()
        names = sorted(INVOKE) if called in INVOKE else [called]
        super().__init__(
            name="edgewright", namespace=Collection(), binary=called, binary_names=names
        )
        self._parser: Parser | None = None

    def run(self, argv: list[str] | None = None, exit: bool = True) -> None:
        try:
            try:
                super().run(argv, exit)
            finally:
                sys.stdout.flush()  # not at the interpreter's end, where nothing can be caught
        except BrokenPipeError:
            if not _is_output_closed():
                raise
            _drop_output()
            sys.exit(ExitCode.NO_READER)  # silently, as a shell's own programs
        except SystemExit as end:
            # Invoke makes exit code 1 of Ctrl-C that falls into no task.
            if not isinstance(end.__context__, KeyboardInterrupt):
                raise
            self._end(INTERRUPTED)
        except UnknownFileType as error:  # of Invoke's --config
            self._end(UserError(self.binary, str(error), next="edgewright --help"))
        except (EdgewrightError, OSError) as raised:
            fault = fault_of(raised)
            if fault.exit_code is ExitCode.BUG:
                raise
            self._end(fault)

    def _end(self, fault: EdgewrightError) -> None:
        """Tell a fault that no task has told, as a document too if one is asked for."""
        sys.stderr.write(as_called(f"{fault}\n"))
        words = self.argv[1:]
        try:
            if not {"--json", "-j"}.isdisjoint(words):
                from edgewright.cli.documents import failure  # loads Pydantic

                named = (commands.task_named(word) for word in words)
                sys.stdout.write(failure(next(filter(None, named), ""), fault).to_json())
            sys.stdout.flush()
        except OSError:
            _drop_output()  # it is standard output itself that takes nothing
        sys.exit(fault.exit_code)

    def core_args(self) -> list[Argument]:
        """`invoke` has found the tasks by its own options; they are accepted and done."""
        return [*super().core_args(), *(self.task_args() if self.binary in INVOKE else [])]

    def normalize_argv(self, argv: list[str] | None) -> None:
        """Put into Invoke's words what its parser cannot take: `TASK --help`, `help TOPIC`."""
        super().normalize_argv(argv)
        program, *words = self.argv
        body = words[: words.index("--")] if "--" in words else words
        task = next((word for word in body if word in {*commands.names()}), None)
        if task and "--help" in body[body.index(task) :]:
            self.argv = [program, f"--help={task}"]
        elif body[:1] == ["help"] and "--topic" not in body:
            topics = [word for word in body[1:] if not word.startswith("-")]
            options = [word for word in body[1:] if word.startswith("-")]
            if len(topics) == 1:
                self.argv = [program, "help", f"--topic={topics[0]}", *options]

    def parse_core(self, argv: list[str] | None) -> None:
        """Invoke has no module compiled to a file; ours then start slowly for ever."""
        unwanted = sys.flags.dont_write_bytecode  # what Python's own -B says
        try:
            super().parse_core(argv)
        except ParseError as error:
            raise mistakes.in_our_words(error) from error
        except ValueError as error:  # a word for a number
            raise UserError(self.binary, str(error), next="edgewright --help") from error
        sys.dont_write_bytecode = bool(unwanted)

    def parse_collection(self) -> None:
        # Any word may be a task: which are values of options is known only after parsing, which
        # needs the tasks. A value that is called like a task costs an import, no more. `split`
        # finds the task in --help=TASK.
        words = {part for word in self.argv[1:] for part in word.split("=")}
        self.namespace = commands.collection(words)
        super().parse_collection()

    def _make_parser(self) -> Parser:
        """The same one each time: a second one of Invoke's lacks the texts of the options."""
        if self._parser is None:
            self._parser = super()._make_parser()
        return self._parser

    def parse_tasks(self) -> None:
        contexts = self._make_parser().contexts
        mistakes.require_sound(self.core.unparsed, contexts, self.initial_context)
        try:
            super().parse_tasks()
        except ParseError as error:
            raise mistakes.in_our_words(error) from error
        mistakes.require_one_document(self.tasks)

    def parse_cleanup(self) -> None:
        form = self.args["list-format"].value
        if form not in FORMATS:
            problem = f"--list-format: expected {', '.join(FORMATS)}, found '{form}'"
            raise UserError(self.binary, problem, next="edgewright --help")
        task, group = self.args.help.value, self.args.list.value
        if isinstance(group, str) and group.startswith("-"):
            problem = f"--list: expected the name of a group, found '{group}'"
            raise UserError(self.binary, problem, next="edgewright --list, or help --json")
        if isinstance(task, str) and task not in self.parser.contexts:
            raise mistakes.unknown_task(task)
        if group and form == "flat":
            self.print_tasks(commands.group_named(group) if isinstance(group, str) else None)
            raise Exit
        # Invoke's other formats, nested and JSON, show all tasks.
        if group:
            self.collection = self.scoped_collection = commands.collection()
        if self.args.complete.value:
            self.print_candidates()
            raise Exit
        super().parse_cleanup()

    def execute(self) -> None:
        # From here on a task may make much garbage; what was imported is never searched for it.
        gc.freeze()
        gc.enable()
        super().execute()

    def print_version(self) -> None:
        from edgewright import __version__  # read from the distribution's metadata

        self.version = __version__
        super().print_version()

    def print_help(self) -> None:
        print(as_called(f"Usage: {USAGE}\n"))
        self.list_groups()
        print("Options of the program itself:\n")
        self.print_columns(self.initial_context.help_tuples())

    def print_tasks(self, group: commands.Group | None) -> None:
        """The groups, a line each; or the tasks of one group, a line each."""
        if group:
            tasks = commands.tasks_of(group)
            self.print_columns([(name, commands.summary(tasks[name])) for name in group.tasks])
            return
        print(as_called(f"Usage: {USAGE}\n"))
        self.list_groups()

    def list_groups(self) -> None:
        roots = [group for group in commands.GROUPS if not group.default]
        self.print_columns([(", ".join(group.tasks), group.about) for group in roots])
        namespaces = [group for group in commands.GROUPS if group.default]
        self.print_columns([(f"{group.name}.…", group.about) for group in namespaces])
        print(as_called(f"{MORE}\n"))

    def print_task_help(self, name: str) -> None:
        context = self.parser.contexts[name]
        repeated = {flag for flag, option in context.flags.items() if option.kind is list}
        options = [  # Invoke shows no value of an option that may be given several times
            (f"{flag}=STRING" if flag in repeated else flag, as_called(meaning or ""))
            for flag, meaning in context.help_tuples()
        ]
        task = self.collection[name]
        usage = "".join(f" --{argument.name}=…" for argument in context.positional_args)
        print(as_called(f"Usage: {self.binary} {name}{usage}{' [--options]' if options else ''}\n"))
        print(as_called(inspect.getdoc(task) or ""))
        print()
        if options:
            self.print_columns(options)

    def print_candidates(self) -> None:
        """What may stand at the end of the command line that follows `--`, for the shell."""
        names = "|".join(map(re.escape, self.binary_names))
        words = re.sub(rf"^\S*({names})( |$)", "", self.core.remainder).split()
        if boards := _board_candidates(words):
            print("\n".join(boards))
        elif words and words[-1].startswith("-"):
            complete(
                names=self.binary_names,
                core=self.core,
                initial_context=self.initial_context,
                collection=self.collection,
                parser=self._make_parser(),
            )
        else:
            print("\n".join(commands.names()))


def _is_output_closed() -> bool:
    """Whether who read our standard output has gone, as `head` does; a board's pipe is another."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # POLLERR is always reported
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _drop_output() -> None:
    """What is still in the buffer would raise once more, at the interpreter's end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _board_candidates(words: list[str]) -> list[str]:
    """Names of boards, where the value of `--board` is to be completed.

    Bash hands over `--board = a5`, three words; zsh `--board=a5`, one, and wants one back.
    """
    prefix = "--board=" if words and words[-1].startswith("--board=") else ""
    if not prefix and "--board" not in words[-2:] and words[-3:-1] != ["--board", "="]:
        return []
    from edgewright.board.catalogue import board_names
    from edgewright.cli.common import workspace

    return [prefix + name for name in board_names(*workspace().board_folders)]
