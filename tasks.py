"""edgewright's tasks, put together from `edgewright.cli`.

`invoke --list` is the table of contents, `invoke --help TASK` explains one. The same tasks
answer to `edgewright TASK`.
"""

from invoke.collection import Collection
from invoke.program import Program

from edgewright import __version__
from edgewright.cli import (
    bench,
    board,
    build,
    develop,
    emulate,
    host,
    keys,
    lab,
    model,
    probe,
    release,
    runtime,
    service,
)

NAMESPACES = (bench, emulate, keys, lab, model, release, runtime, service)

namespace = Collection(*map(Collection.from_module, NAMESPACES))
namespace.add_collection(Collection.from_module(probe, name="board"))
for part in (host, build, board, develop):
    for task in Collection.from_module(part).tasks.values():
        namespace.add_task(task)


def main() -> None:
    """The console script `edgewright`."""
    Program(name="edgewright", version=__version__, namespace=namespace).run()
