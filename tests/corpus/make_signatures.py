"""Writes tests/corpus/signatures/bad: signatures of `signed.txt` with one defect each.

Usage: python tests/corpus/make_signatures.py

`bad/expected.txt` says which words tell of each. The good files beside were made by Debian's
minisign 0.11; they sign nothing but `signed.txt`:
    minisign -G -W -p stock.pub -s stock.key
    minisign -G -p stock-locked.pub -s stock-locked.key     (passphrase: pw)
    minisign -S -s stock.key -m signed.txt -t 'x y'
`ours*` and `signed.txt.ours.minisig` were made by edgewright 0.1.0 (passphrase: pw).
"""

import base64
from pathlib import Path

FOLDER = Path(__file__).parent / "signatures"
GOOD = (FOLDER / "signed.txt.minisig").read_text().splitlines()
SIGNED, GLOBAL = (base64.b64decode(GOOD[line]) for line in (1, 3))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def changed(line: int, text: str) -> list[str]:
    return [*GOOD[:line], text, *GOOD[line + 1 :]]


BAD = {
    "empty": ("lines, expected 4", [""]),
    "three-lines": ("3 lines, expected 4", GOOD[:3]),
    "five-lines": ("5 lines, expected 4", [*GOOD, ""]),
    "no-untrusted-comment": ("no line starts with", changed(0, GOOD[0][2:])),
    "no-trusted-comment": ("no line starts with", changed(2, "comment: x y")),
    "not-base64": ("not base64", changed(1, "!" + GOOD[1][1:])),
    "short": ("73 bytes, expected 74", changed(1, b64(SIGNED[:-1]))),
    "loose-base64": ("expected 64", changed(3, GOOD[3][:-3] + "h==")),
    "old-kind": ("of the old kind", changed(1, b64(b"Ed" + SIGNED[2:]))),
    "other-algorithm": ("algorithm", changed(1, b64(b"XX" + SIGNED[2:]))),
    "foreign-key": ("signed by another key", changed(1, b64(flipped(SIGNED, 5)))),
    "signature-changed": ("does not fit", changed(1, b64(flipped(SIGNED, 40)))),
    "comment-changed": ("was changed after", changed(2, "trusted comment: x z")),
    "comment-too-long": ("more than", changed(2, "trusted comment: " + "x" * 9000)),
    "comment-unprintable": ("not printable", changed(2, "trusted comment: x\x1b[2J")),
    "global-changed": ("was changed after", changed(3, b64(flipped(GLOBAL, 3)))),
}


def main() -> None:
    lines = []
    for name, (words, text) in BAD.items():
        (FOLDER / "bad" / f"{name}.minisig").write_text("".join(f"{line}\n" for line in text))
        lines.append(f"{name}: {words}\n")
    (FOLDER / "bad" / "expected.txt").write_text("".join(lines))


if __name__ == "__main__":
    main()
