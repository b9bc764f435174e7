"""Boards and cores that people ask for and that cannot run: the reason, and what can instead.

Cores by Linux's device trees: broadcom/bcm2835.dtsi (ARM1176), nvidia/tegra20.dtsi (Cortex-A9),
microchip/sama5d3.dtsi (Cortex-A5), marvell/armada-xp-mv78230.dtsi (Marvell's own). These say
nothing of NEON, which a Cortex-A5 or A9 may lack. OpenWrt compiles its target tegra for vfpv3-d16,
and mvebu (Armada 370, XP) for vfpv3, both without NEON. That PJ4's VFPv3 is a D16, that SAMA5D3
has no NEON, and the cores of the other boards: no document was opened.
"""

import re
from dataclasses import dataclass

NEEDS_NEON = "ONNX Runtime's MLAS kernels need NEON"

# Start of a core's name, as GCC writes it → why no board with it can run; the first one counts.
CORES = {
    "arm926": f"ARM926 is ARMv5TE, without NEON; {NEEDS_NEON}, which came with ARMv7-A",
    "arm9": f"ARM9 is ARMv4T or ARMv5, without NEON; {NEEDS_NEON}, which came with ARMv7-A",
    "arm1176": (
        f"ARM1176 is ARMv6, with VFPv2 and without NEON; {NEEDS_NEON}, which came with ARMv7-A"
    ),
    "arm11": f"ARM11 is ARMv6, with VFPv2 and without NEON; {NEEDS_NEON}, which came with ARMv7-A",
    "marvell-pj4": f"Marvell's PJ4 is ARMv7 with VFPv3-D16 and without NEON; {NEEDS_NEON}",
    "cortex-m": "Cortex-M has no memory management unit and runs no Linux, which a release needs",
    "neoverse": "Neoverse is a core of servers: no board profile describes one",
    "cortex-r": "Cortex-R has no memory management unit and runs no Linux, which a release needs",
}
# "CPU part" → core, of those that cannot run and show themselves to `board.probe`.
PARTS = {"0x926": "arm926", "0xb36": "arm1136", "0xb76": "arm1176", "0x581": "marvell-pj4"}
TEGRA_2 = f"Tegra 2 has two Cortex-A9 with VFPv3-D16 and without NEON; {NEEDS_NEON}"
SAMA5D3 = f"SAMA5D3 has a Cortex-A5 with VFPv4-D16 and without NEON; {NEEDS_NEON}"


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A board that cannot run."""

    names: tuple[str, ...]  # as people call it
    description: str
    reason: str
    instead: str  # a board of the catalogue
    why_instead: str


REFUSED = (
    Refusal(
        names=("rpi1", "rpi", "raspberry-pi", "rpi-cm1"),
        description="Raspberry Pi 1, Compute Module 1 (BCM2835)",
        reason=CORES["arm1176"],
        instead="rpi3-armhf",
        why_instead="the same connectors, four Cortex-A53",
    ),
    Refusal(
        names=("rpi-zero", "rpi-zero-w", "rpi-zero-wh"),
        description="Raspberry Pi Zero, Zero W (BCM2835)",
        reason=CORES["arm1176"],
        instead="rpi-zero2w-armhf",
        why_instead="the same size and pins, four Cortex-A53",
    ),
    Refusal(
        names=("imx23-evk", "imx28-evk"),
        description="NXP i.MX 23, i.MX 28",
        reason=CORES["arm926"],
        instead="imx6ull-evk",
        why_instead="NXP's small one with a Cortex-A7",
    ),
    Refusal(
        names=("sam9x60-ek", "sam9x75-curiosity", "at91sam9"),
        description="Microchip SAM9X60, SAM9X75, AT91SAM9",
        reason=CORES["arm926"],
        instead="stm32mp157c-dk2",
        why_instead="a microprocessor with two Cortex-A7",
    ),
    Refusal(
        names=("sheevaplug", "kirkwood"),
        description="Marvell Kirkwood, SheevaPlug (Feroceon)",
        reason=f"Feroceon is ARMv5TE, without NEON; {NEEDS_NEON}, which came with ARMv7-A",
        instead="rock64",
        why_instead="four Cortex-A53",
    ),
    Refusal(
        names=("mirabox", "armada-370", "armada-xp"),
        description="Marvell Armada 370, Armada XP, Mirabox",
        reason=CORES["marvell-pj4"],
        instead="rock64",
        why_instead="four Cortex-A53",
    ),
    Refusal(
        names=("tegra2", "trimslice", "colibri-t20"),
        description="NVIDIA Tegra 2: Trim-Slice, Toradex Colibri T20",
        reason=TEGRA_2,
        instead="jetson-nano",
        why_instead="NVIDIA's with four Cortex-A57",
    ),
    Refusal(
        names=("sama5d3-xplained", "sama5d3"),
        description="Microchip SAMA5D3",
        reason=SAMA5D3,
        instead="stm32mp157c-dk2",
        why_instead="two Cortex-A7 with NEON",
    ),
    Refusal(
        names=("rpi-pico", "rpi-pico2", "stm32f4", "stm32f7", "stm32h7", "imxrt1060", "nrf52"),
        description="boards with a Cortex-M: Raspberry Pi Pico, STM32 F4, F7, H7, i.MX RT, nRF52",
        reason=CORES["cortex-m"],
        instead="rpi-zero2w-armhf",
        why_instead="the smallest of the catalogue that runs Linux",
    ),
    Refusal(
        names=("rzt1", "tms570", "am243x-evm"),
        description="boards with a Cortex-R: Renesas RZ/T1, TI TMS570, TI AM243x",
        reason=CORES["cortex-r"],
        instead="beagleplay",
        why_instead="TI's with four Cortex-A53 and Linux",
    ),
)


def refusal_of(name: str) -> Refusal | None:
    """The board of this name, if it is one that cannot run; `RPi_ZeroW` is `rpi-zero-w`."""
    letters = _letters(name)
    return next((board for board in REFUSED if letters in map(_letters, board.names)), None)


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def core_refusal(core: str) -> str | None:
    """Why no board with this core can run, or None."""
    return next((reason for start, reason in CORES.items() if core.startswith(start)), None)
