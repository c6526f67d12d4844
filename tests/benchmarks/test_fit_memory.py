"""Compression and fit take no more memory than the documentation states, measured in processes of their own."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import benchmark
from benchmarks.fit_memory import CASES, benchmark_fit_memory, memory_case
from voxelcast.core.errors import OptionError, UnknownNameError
from voxelcast.features.cost import compress_bytes, compress_flops

# Whatever the size: blocks that do not grow, and libraries that are loaded when they are first needed.
CONSTANT = 100e6
SMALL = {"voxels": 3000, "features": 96, "components": 10}
CHANGES = {
    "series": {**SMALL, "samples": 2400, "delays": 2, "encoders": ("ridge",)},
    "brain": {**SMALL, "samples": 400, "folds": 4, "layers": 3, "encoders": ("ridge",)},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(CASES))
def test_measured_is_at_most_what_is_stated(kind: str) -> None:
    compressed, fitted = benchmark_fit_memory(memory_case(kind, CHANGES[kind]))
    for step in (compressed, fitted):
        assert 0 < step.measured <= sum(step.stated.values()) + CONSTANT
        assert step.line().startswith(f"{step.step}: measured 0.")
    if kind == "series":
        assert fitted.measured > 3 * 8 * 2400 * 3000  # the responses alone, three times


def test_cases_that_make_no_sense_are_refused() -> None:
    with pytest.raises(OptionError, match="kind must be one of series, brain; got 'mini'"):
        memory_case("mini", {})
    with pytest.raises(OptionError, match="encoders must work on moments, whose memory is stated; got mlp"):
        memory_case("series", {"encoders": ("mlp",)})
    with pytest.raises(UnknownNameError, match="ridje"):
        memory_case("series", {"encoders": ("ridje",)})


def test_the_command_says_what_it_does_not_know() -> None:
    result = CliRunner().invoke(benchmark, ["fit-memory", "--encoders", "mlp"])
    assert result.exit_code == 1
    assert "got mlp; take ridge or pls" in str(result.exception)


def test_memory_of_the_compression_is_bounded() -> None:
    sizes = [(1_000, 500_000), (10_000, 512), (10_000, 100_000), (32_000, 512), (32_000, 50_000), (100_000, 100_000)]
    held = {size: sum(compress_bytes(*size, 100).values()) for size in sizes}
    assert held[1_000, 500_000] == 3 * 8 * 1_000**2 + 2 * 8 * 4096 * 1_000 + 3 * 8 * 1_000 * 100
    assert held[32_000, 512] < 0.5e9
    assert max(held.values()) < 3.5e9
    assert held[10_000, 512] < held[10_000, 100_000]
    # Reading wide features once serves all folds; what is scaled is multiplied for each.
    once, each = (compress_flops(1_000, 100_000, 50, 56, scale=scale) for scale in (False, True))
    assert 0.5 * 1_000**2 * 100_000 < once < each / 10
