"""The measured rows in `tests/data/footprint`, scored as `scripts/bench_footprint` does."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data/footprint"
MIB = 1 << 20


@pytest.fixture(scope="module")
def bench():
    path = str(ROOT / "scripts/bench_footprint")
    sys.path.insert(0, str(ROOT / "scripts"))  # as when it runs by itself
    loader = importlib.machinery.SourceFileLoader("bench_footprint", path)
    spec = importlib.util.spec_from_loader("bench_footprint", loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_footprint"] = module
    sys.dont_write_bytecode, kept = True, sys.dont_write_bytecode
    loader.exec_module(module)
    sys.dont_write_bytecode = kept
    sys.path.remove(str(ROOT / "scripts"))
    yield module
    del sys.modules["bench_footprint"]


@pytest.fixture(scope="module")
def rows(bench):
    return bench.load(DATA / "footprints.csv", DATA / "models.json")


def quantiles(bench, found):
    return [bench.quantile(found, q, lambda p: abs(p.error)) for q in (0.5, 0.9)]


def test_every_complete_cache_row_is_met(bench, rows):
    """Cache and state of every row with a complete configuration are within half a percent."""
    found = bench.kv_pairs(rows)
    assert len(found) >= 60
    assert max(abs(pair.error) for pair in found) <= 0.005


def test_compute_buffers_of_one_gpu_are_close(bench, rows):
    """Median within 10 %, 90th percentile within 40 %, the bound never 300 MiB low."""
    found = bench.compute_pairs(rows, mainline=True)
    median, high = quantiles(bench, found)
    assert median <= 0.10
    assert high <= 0.40
    assert all(pair.truth <= pair.upper + 300 * MIB for pair in found)


def test_gpu_totals_match_the_buffers(bench, rows):
    """Median within 1 %, 90th percentile within 5 %; the bound misses one row at most."""
    found = bench.buffer_pairs(rows)
    median, high = quantiles(bench, found)
    assert median <= 0.01
    assert high <= 0.05
    assert sum(pair.truth > pair.upper for pair in found) <= 1


def test_gpu_totals_match_the_driver(bench, rows):
    """Median within 3 %, no row above the bound, and an excess of 8 % at most."""
    found = bench.driver_pairs(rows)
    assert quantiles(bench, found)[0] <= 0.03
    assert all(pair.truth <= pair.upper for pair in found)
    truth = sum(pair.truth for pair in found)
    assert sum(pair.upper for pair in found) <= 1.08 * truth


def test_our_rule_beats_the_naive_ones(bench, rows):
    """On the same rows neither file x 1.2 nor Ollama's forecast comes near."""
    found = bench.buffer_pairs(rows)
    naive = [bench.Pair(p.row, p.truth, int(bench.weights(p) * 1.2)) for p in found]
    assert quantiles(bench, naive)[0] > 10 * quantiles(bench, found)[0]
