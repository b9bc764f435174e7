"""What a failed build says in its output: which symbols no object defines, and which errors."""

import re

# GNU ld and gold say the former, LLVM's linker the latter.
MISSING_SYMBOL = re.compile(r"undefined (?:reference to|symbol:?) [`']?(.+?)'?$", re.MULTILINE)
# What ninja could not make, and what compiler, assembler and linker say of it.
ERROR = re.compile(
    r"^FAILED: .*|^.*\b(?:error|Error): .*|^.*undefined (?:reference|symbol).*", re.MULTILINE
)
SHOWN_ERRORS = 12  # lines; Conan's own come after them, within the tail that a failed child shows


def missing_symbols(output: str) -> list[str]:
    """Names that the linker looked for in vain, each once, in the order of the output."""
    return list(dict.fromkeys(MISSING_SYMBOL.findall(output)))


def errors(output: str) -> str:
    """The first errors of an output in their own words; its last lines where it names none."""
    lines = [match.strip() for match in ERROR.findall(output)]
    return "\n".join(lines[:SHOWN_ERRORS] or output.splitlines()[-SHOWN_ERRORS:])
