"""Which function an address belongs to."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.base.errors import UserError
from edgewright.board import symbols
from edgewright.board.symbols import Function, Symbols

ELF = Path(__file__).parents[2] / "data" / "elf"


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9)), min_size=1, max_size=9))
def test_an_address_is_in_the_function_that_covers_it(pieces: list[tuple[int, int]]) -> None:
    address, functions = 100, []
    for number, (size, gap) in enumerate(pieces):
        functions.append(Function(address=address, size=size, name=f"f{number}"))
        address += size + gap
    table = Symbols(path=Path("x"), functions=tuple(functions))

    for at in range(90, address + 10):
        covering = [f for f in functions if f.address <= at < f.address + f.size]
        assert table.at(at) == (covering[0] if covering else None)


def test_thumb_functions_have_even_addresses() -> None:
    table = symbols.read_symbols(ELF / "unstripped")

    assert table.functions
    assert all(function.address % 2 == 0 for function in table.functions)


def test_a_stripped_file_is_told() -> None:
    with pytest.raises(UserError, match="names no function"):
        symbols.read_symbols(ELF / "good-v8")


def test_names_lose_their_parameters() -> None:
    assert symbols.demangle(["_ZN4edge7Session3runEi", "main"]) == {
        "_ZN4edge7Session3runEi": "edge::Session::run",
        "main": "main",
    }
