"""A crash file as a 32-bit board writes it."""

STACK = bytes.fromhex("0d0001000000000000000000") + bytes(52)
TEXT = f"""\
edgewright crash 1
machine arm
command watch
release 0123456789abcdef
build-id 2612b2652706f1803a52ca5bb4466729258f4d7d
signal 11 code 1 address 00000000
time 1795964298 uptime 73538
thread 812
registers {" ".join(f"{number:08x}" for number in range(13))} 40800600 00000000 000117d8 80000030
stack 40800600
{STACK.hex()}
thread 815
registers {" ".join(["00000000"] * 17)}
stack 40700000
maps
00010000-0006b000 r-xp 00000000 b3:02 3244 /opt/edgewright/releases/0123456789abcdef/bin/edge-infer
ffff0000-ffff1000 r-xp 00000000 00:00 0 [vectors]
log
| ORT says: "no kernel"
|{" "}
end
"""
