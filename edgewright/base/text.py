"""Text of others, as it can be shown: it may come from a hostile board, or from a file's name."""

import re

LINE = 400  # characters of a line that is quoted
MESSAGE = 10_000  # characters of a part of an error
# Letters and marks that Unicode counts as printable, and that show nothing.
BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def visible(text: str, *, allowed: str = "") -> str:
    r"""`text` with escapes for what controls a terminal, turns its direction or hides.

    That is all but letters, marks, numbers, punctuation, symbols and the space: `\x1b`, `\u202e`,
    `\n` too unless it is among `allowed`.
    """
    if text.isprintable() and not BLANK.search(text):
        return text
    return "".join(
        letter
        if letter in allowed or (letter.isprintable() and not BLANK.match(letter))
        else letter.encode("unicode_escape").decode()
        for letter in text
    )


def message(text: str, *, allowed: str = "") -> str:
    """`visible`, and no longer than an error may be."""
    return visible(text if len(text) <= MESSAGE else f"{text[: MESSAGE - 1]}…", allowed=allowed)


def last_lines(text: str, count: int) -> list[str]:
    """The last lines of what a program wrote, to be quoted: each visible, and cut to `LINE`."""
    # Cut first: a hostile board's 4 MiB may be a million lines.
    lines = re.split(r"\r?\n", text[-count * LINE * 4 :].rstrip("\r\n"))[-count:]
    return [
        visible(line if len(line) <= LINE else f"{line[: LINE - 1]}…") for line in lines if line
    ]
