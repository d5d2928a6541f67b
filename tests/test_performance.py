"""The performance page is what its data say, and the GPU benchmark runs without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
COMPARE = """
import pages, performance_page as page
text = page.PAGE.read_text(encoding="utf-8")
raise SystemExit(pages.filled(text, page.blocks()) != text)
"""


REPORT = "import json, logger_overhead as o; print(json.dumps(o.report(200, 1, 8, 2)))"
TERM = """
import json, training_overhead as o
from types import SimpleNamespace
given = SimpleNamespace(frames=None, device="cpu", repeats=8)
rows, summary = o.measure(given, "demo", "eager")
print(json.dumps([rows, summary]))
"""


def printed(code):
    """What a program beside the benchmarks prints last, as JSON."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_a_report_of_the_logger_is_timed():
    reading, drawing = printed(REPORT)
    assert 0 < reading < drawing


def test_the_term_is_timed_in_turns_and_every_second_step_costs_half():
    rows, summary = printed(TERM)
    calls = {row["loss"] for row in rows}
    assert {c.removesuffix("_alone") for c in calls} == {
        "stock", "term", "term_all_samples", "term_every_2",
    }  # fmt: skip
    assert len(rows) == 8 * len(calls) == 8 * 7
    first = [row["loss"] for row in rows if row["place"] == 0]
    assert set(first) == calls - {c for c in calls if c.endswith("_alone")}
    alone = summary["term_alone"]["over_stock_median"]
    assert 0.25 * alone < summary["term_every_2_alone"]["over_stock_median"] < 0.75 * alone


def test_the_page_is_made_from_the_results():
    done = subprocess.run([sys.executable, "-c", COMPARE], cwd=BENCHMARKS, check=False)
    assert done.returncode == 0, "run `python benchmarks/performance_page.py`"


@pytest.mark.slow
def test_the_gpu_benchmark_runs_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NEQUIP_DECORR_LMP", raising=False)
    out = tmp_path / "gpu_cpu.csv"
    command = [
        sys.executable, str(BENCHMARKS / "gpu.py"), "--work", str(tmp_path), "--device", "cpu",
        "--size", "tiny", "--limit", "600", "--deadline", "3600", "--out", str(out),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    parts = json.loads(out.with_suffix(".json").read_text())["parts"]
    skipped = {name for name, part in parts.items() if part["status"] == "skipped"}
    assert skipped == {"step0-plain-tiny", "md-plain-tiny-96"}
    assert "no pair style allegro" in parts["md-plain-tiny-96"]["reason"]
    assert parts["campaign"]["statuses"] == ["survived", "survived"]
    for place in ("python", "library"):
        largest = parts[f"step0-{place}-tiny"]["largest"]
        assert largest["force_meV_per_A"] < 0.1
        assert largest["grade_relative"] < 1e-4
    assert parts["library-tiny"]["plain_ms"] > 0

    # Nothing is done twice.
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert json.loads(out.with_suffix(".json").read_text())["parts"] == parts
    assert again.returncode == 0
