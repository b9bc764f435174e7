"""A 32-bit ARM program whose instructions can be counted by hand."""

import struct
from pathlib import Path

BASE = 0x10000
HEADERS = 52 + 32  # ELF header, one program header
ENTRY = BASE + HEADERS
FUNCTION = ENTRY + 7 * 4
CALLS = 5
ENTRY_INSTRUCTIONS = 1
FUNCTION_INSTRUCTIONS = 1 + 10 * 2 + 1
CALL_INSTRUCTIONS = FUNCTION_INSTRUCTIONS + 3
EXIT_INSTRUCTIONS = 3

CODE = (
    0xE3A04000 | CALLS,  # mov r4, #CALLS
    0xEB000004,  # call: bl function
    0xE2544001,  # subs r4, r4, #1
    0x1AFFFFFC,  # bne call
    0xE3A00000,  # mov r0, #0
    0xE3A07001,  # mov r7, #1: exit
    0xEF000000,  # svc #0
    0xE3A0500A,  # function: mov r5, #10
    0xE2555001,  # again: subs r5, r5, #1
    0x1AFFFFFD,  # bne again
    0xE12FFF1E,  # bx lr
)


def write_program(path: Path) -> Path:
    """Calls `FUNCTION` `CALLS` times, which counts down from ten, and exits with 0."""
    code = struct.pack(f"<{len(CODE)}I", *CODE)
    size = HEADERS + len(code)
    ident = b"\x7fELF" + bytes([1, 1, 1]) + bytes(9)
    header = struct.pack("<HHIIIIIHHHHHH", 2, 40, 1, ENTRY, 52, 0, 0x05000200, 52, 32, 1, 0, 0, 0)
    load = struct.pack("<8I", 1, 0, BASE, BASE, size, size, 5, 0x1000)
    path.write_bytes(ident + header + load + code)
    path.chmod(0o755)
    return path
