"""Samples as a 32-bit board writes them."""

STACK = bytes(64).hex()


def thread(number: int) -> str:
    registers = " ".join(f"{value:08x}" for value in range(17))
    return f"thread {number}\nregisters {registers}\nstack 40800600\n{STACK}\n"


HEAD = """\
edgewright profile 1
machine arm
command run
build-id 2612b2652706f1803a52ca5bb4466729258f4d7d
interval 10000
maps
00010000-0006b000 r-xp 00000000 b3:02 3244 /opt/edgewright/releases/0123456789abcdef/bin/edge-infer
"""
TEXT = f"{HEAD}{thread(812)}{thread(815)}{thread(812)}end 4\n"
