"""Pages of docs/ by topic, and the list of all tasks."""

from typing import Annotated

from invoke.context import Context

from edgewright.base.errors import UserError, near_miss
from edgewright.base.layout import installed_resources
from edgewright.cli import commands
from edgewright.cli.common import OUT, Json, task_named, write, write_document
from edgewright.cli.documents import Page
from edgewright.cli.words import as_called

# Topic → its page in docs/, and what it is about.
TOPICS = {
    "workspace": ("workspace.md", "edgewright in your own repository"),
    "boards": ("boards.md", "describe a kind of board in one file"),
    "models": ("model.md", "make, quantize, judge and pack a model"),
    "deploy": ("deploy.md", "put a release on a board, prove it, go back"),
    "service": ("service.md", "a release as a service of its board"),
    "keys": ("keys.md", "sign releases, and tell boards whom to trust"),
    "supply-chain": ("supply-chain.md", "what is in a release; stores and channels of releases"),
    "export": ("export.md", "a release for the updater that a board has already"),
    "sdk": ("sdk.md", "the runtime as a library for your own program"),
    "programs": ("programs.md", "your own programs in the release"),
    "wheel": ("wheel.md", "the runtime as a Python wheel for the board"),
    "fleet": ("fleet.md", "many boards at once"),
    "observe": ("observe.md", "what a board does, and what could hurt it"),
    "formats": ("formats.md", "files and documents, key by key"),
    "ci": ("ci.md", "edgewright in a pipeline"),
    "nightly": ("nightly.md", "every board with every model, each night"),
    "upgrades": ("upgrades.md", "what an upgrade keeps, and what is newer"),
}


@task_named("help")
def help_(
    c: Context,
    topic: Annotated[str, f"one of {', '.join(TOPICS)}; default: what there is"] = "",
    json: Json = False,
) -> None:
    """Explain a topic, or list everything. Example: edgewright help boards"""
    if not topic:
        _show(as_called(_everything()), None, json=json)
        return
    if topic not in TOPICS:
        raise UserError(
            f"topic '{topic}'",
            f"unknown{near_miss(topic, TOPICS)}",
            facts=[f"topics: {', '.join(TOPICS)}"],
            next="edgewright help",
        )
    page = (installed_resources().docs / TOPICS[topic][0]).read_text(encoding="utf-8")
    _show(page, topic, json=json)


def _show(text: str, topic: str | None, *, json: bool) -> None:
    if json:
        write_document(Page(topic=topic, text=text))
    elif topic and OUT.is_terminal:
        from rich.markdown import Markdown  # its parser is of no use to a pipe

        with OUT.pager(styles=True):
            OUT.print(Markdown(text))
    else:
        write(text)


def _everything() -> str:
    tasks = commands.collection()
    lines = ["edgewright help TOPIC", ""]
    lines += [f"  {topic:14}{about}" for topic, (_, about) in TOPICS.items()]
    for group in commands.GROUPS:
        width = max(map(len, group.tasks)) + 2
        lines += ["", f"{group.name}: {group.about}"]
        lines += [f"  {name:{width}}{commands.summary(tasks[name])}" for name in group.tasks]
    return "\n".join(lines) + "\n"
