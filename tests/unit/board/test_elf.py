from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgewright.base.errors import UserError
from edgewright.board.elf import ElfFacts, read_elf

ELF = Path(__file__).parents[2] / "data" / "elf"
FILES = sorted(path for path in ELF.iterdir() if path.suffix != ".sh")


def test_facts_of_a_static_thumb_program_for_armv7() -> None:
    facts = read_elf(ELF / "good-v7")

    assert (facts.machine, facts.bits, facts.endian, facts.type) == ("ARM", 32, "little", "EXEC")
    assert facts.bytes == (ELF / "good-v7").stat().st_size
    assert (facts.interpreter, facts.needed, facts.versions) == (None, (), ())
    assert facts.arm is not None
    assert facts.arm.model_dump() == {
        "cpu_name": "7-A",
        "cpu_arch": "v7",
        "arm_isa": "yes",
        "thumb_isa": "Thumb-2",
        "fp_arch": "VFPv4",
        "simd_arch": "NEONv1 with Fused-MAC",
        "vfp_args": "VFP registers",
        "division": "yes",
    }
    assert facts.entry % 2 == 1
    assert facts.stripped
    assert not facts.executable_stack
    assert facts.build_id is not None
    assert len(bytes.fromhex(facts.build_id)) == 20


def test_facts_of_armv8_code_in_32_bits() -> None:
    arm = read_elf(ELF / "good-v8").arm

    assert arm is not None
    assert (arm.cpu_name, arm.cpu_arch) == ("8-A", "v8")
    assert (arm.fp_arch, arm.simd_arch) == ("FP for ARMv8", "NEON for ARMv8")


def test_soft_float_calls_show_in_the_attributes() -> None:
    arm = read_elf(ELF / "softfp").arm

    assert arm is not None
    assert arm.vfp_args == "core registers"


def test_arm_code_starts_at_an_even_address() -> None:
    assert read_elf(ELF / "arm-code").entry % 2 == 0


def test_facts_of_a_64_bit_program() -> None:
    facts = read_elf(ELF / "good-arm64")

    assert (facts.machine, facts.bits, facts.arm) == ("AARCH64", 64, None)


def test_versions_come_with_the_symbols_that_need_them() -> None:
    facts = read_elf(ELF / "glibc")

    assert facts.interpreter == "/lib/ld-linux-armhf.so.3"
    assert facts.needed == ("libm.so.6", "libc.so.6")
    assert [(v.library, v.version, v.symbols) for v in facts.versions] == [
        ("libc.so.6", "GLIBC_2.4", ("__cxa_finalize", "abort")),
        ("libc.so.6", "GLIBC_2.34", ("__libc_start_main", "pthread_create")),
        ("libm.so.6", "GLIBC_2.4", ("sqrtf",)),
    ]


def test_highest_version_compares_numbers_not_text() -> None:
    facts = read_elf(ELF / "libstdcxx")

    highest = {name: facts.highest(name) for name in ("GLIBC", "GLIBCXX", "CXXABI", "GCC")}

    assert {name: v.version if v else None for name, v in highest.items()} == {
        "GLIBC": "GLIBC_2.34",
        "GLIBCXX": "GLIBCXX_3.4.21",
        "CXXABI": "CXXABI_1.3",
        "GCC": None,
    }


def test_libraries_and_search_paths() -> None:
    assert read_elf(ELF / "libonnxruntime.so.1").soname == "libonnxruntime.so.1"
    assert read_elf(ELF / "client").runpath == "$ORIGIN"
    assert read_elf(ELF / "client-rpath").runpath == "/home/me/lib"


def test_what_a_linker_and_strip_leave_behind() -> None:
    assert read_elf(ELF / "no-build-id").build_id is None
    assert read_elf(ELF / "exec-stack").executable_stack
    assert read_elf(ELF / "object").type == "REL"
    unstripped = read_elf(ELF / "unstripped")
    assert (unstripped.symbol_table, unstripped.debug_info) == (True, True)


def test_section_sizes_are_those_of_the_headers() -> None:
    sizes = {section.name: section.bytes for section in read_elf(ELF / "good-v7").sections}

    assert sizes[".note.gnu.build-id"] == 36
    assert sizes[".text"] > 0


def test_a_file_that_is_not_elf_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "edge-infer"
    path.write_text("#!/bin/sh\n")

    with pytest.raises(UserError) as caught:
        read_elf(path)

    assert str(caught.value) == f"{path}: not an ELF file"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not readable: No such file or directory"):
        read_elf(tmp_path / "edge-infer")


@pytest.mark.parametrize("keep", [4, 5, 16, 51, 52, 300, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "edge-infer"
    path.write_bytes((ELF / "glibc").read_bytes()[:keep])

    with pytest.raises(UserError, match="truncated or malformed ELF file"):
        read_elf(path)


def test_a_file_without_section_headers_is_refused(tmp_path: Path) -> None:
    data = bytearray((ELF / "good-v7").read_bytes())
    data[32:36] = bytes(4)  # e_shoff
    data[48:50] = bytes(2)  # e_shnum
    path = tmp_path / "edge-infer"
    path.write_bytes(data)

    with pytest.raises(UserError, match="no section headers"):
        read_elf(path)


edits = st.lists(st.tuples(st.integers(0, 4300), st.binary(min_size=1, max_size=4)), max_size=6)


@given(source=st.sampled_from(FILES), edits=edits, keep=st.integers(0, 4300) | st.none())
@example(source=ELF / "glibc", edits=[(44, b"\xff\xff")], keep=None)  # 65,535 segments
@settings(max_examples=150)
def test_damaged_files_are_facts_or_the_users_error(
    source: Path,
    edits: list[tuple[int, bytes]],
    keep: int | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    data = bytearray(source.read_bytes())
    for place, new in edits:
        data[place : place + len(new)] = new
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(data[:keep])

    facts = facts_or_error(path)

    if isinstance(facts, ElfFacts):
        assert ElfFacts.model_validate_json(facts.model_dump_json()) == facts
    else:
        assert facts.startswith(f"{path}: ")


def facts_or_error(path: Path) -> ElfFacts | str:
    try:
        return read_elf(path)
    except UserError as error:
        return str(error)
