"""The runner: nothing lost, nothing done twice, whatever breaks. The engine is a fake one."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import ase.io
import pytest
from ase import Atoms
from ase.build import bulk

from nequip_decorr.campaign.plan import Shard, plan_campaign
from nequip_decorr.campaign.progress import Printer, TimeLeft, Watcher
from nequip_decorr.campaign.run import execute_run
from nequip_decorr.campaign.runner import RunnerSummary, run_campaign
from nequip_decorr.campaign.schema import Campaign, parse_campaign
from nequip_decorr.campaign.store import COLUMNS, read_runs
from nequip_decorr.errors import UserError
from nequip_decorr.files import csv_text
from nequip_decorr.md.engines import available_engines
from nequip_decorr.md.spec import RunSpec
from tests.helpers.fake_engine import get_engine, model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ase.io.write(tmp_path / "cu.xyz", bulk("Cu", cubic=True).repeat(2))
    return tmp_path


def campaign(folder: Path, models: dict[str, Any] | None = None, **changes: Any) -> Campaign:
    data = {
        "models": models or {"good": model(), "bad": model("fail")},
        "structures": ["cu.xyz"],
        "temperatures_K": [300],
        "replicas": 2,
        "length_ps": 0.1,
        "out": "out",
    }
    return parse_campaign({**data, **changes}, folder, name="test")


def go(made: Campaign, executor: Executor | None = None, **options: Any) -> RunnerSummary:
    """Run in threads, which is quick, unless told otherwise."""
    if executor is None and "workers" not in options:
        with ThreadPoolExecutor(2) as threads:
            return run_campaign(made, executor=threads, engine_lookup=get_engine, **options)
    return run_campaign(made, executor=executor, engine_lookup=get_engine, **options)


def starts(folder: Path) -> list[str]:
    return [line.split()[0] for line in (folder / "starts").read_text().splitlines()]


def statuses(summary: RunnerSummary) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in summary.rows:
        found.setdefault(row["model"], []).append(row["status"])
    return found


def test_a_campaign_in_processes(folder: Path) -> None:
    models = {"good": model(log=str(folder)), "bad": model("fail", log=str(folder))}
    summary = go(campaign(folder, models), workers=2)
    assert summary.done == {"survived": 2, "failed": 2}
    assert summary.stopped is None
    lines = [line.split() for line in (folder / "starts").read_text().splitlines()]
    assert {threads for *_, threads in lines} == {"1"}
    assert str(os.getpid()) not in {pid for _, pid, _ in lines}

    rows = read_runs(folder / "out")
    assert [
        (r["model"], r["seed"], r["status"], r["cause"], r["stable_time_ps"]) for r in rows
    ] == [
        ("bad", 1, "failed", "contact", 0.007),
        ("bad", 2, "failed", "contact", 0.007),
        ("good", 1, "survived", None, 0.1),
        ("good", 2, "survived", None, 0.1),
    ]
    assert (folder / "out" / "runs.csv").read_text() == csv_text(rows, COLUMNS)
    manifest = json.loads(
        (folder / "out" / "runs" / rows[0]["run_id"] / "manifest.json").read_text()
    )
    assert manifest["result"]["threshold"] == 0.6
    assert set(manifest["files"]) == {"thermo.csv"}
    assert len(manifest["inputs"]["structure_file"]) == 64

    again = go(campaign(folder, models), workers=2)
    assert (again.kept, again.done) == (4, {})
    assert len(starts(folder)) == 4


def test_a_line_says_when_a_run_failed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ThreadPoolExecutor(1) as executor:
        go(campaign(folder, {"bad": model("fail")}, replicas=1), executor, watcher=Printer())
    said = capsys.readouterr().out
    assert re.search(r"^\[1/1\] bad-\S+: failed \(contact\) at 0.007 ps", said, re.M)


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_any_executor_will_do(folder: Path, kind: type[Executor]) -> None:
    with kind(2) as executor:  # type: ignore[call-arg]
        summary = go(campaign(folder), executor)
        assert executor.submit(int, "1").result() == 1  # left open
    assert statuses(summary) == {"bad": ["failed"] * 2, "good": ["survived"] * 2}


def test_executorlib_as_on_a_cluster(folder: Path) -> None:
    executorlib = pytest.importorskip("executorlib", reason="executorlib is not installed")
    with executorlib.SingleNodeExecutor(max_workers=1) as executor:
        summary = go(campaign(folder), executor)
    assert statuses(summary) == {"bad": ["failed"] * 2, "good": ["survived"] * 2}


def test_a_changed_campaign_keeps_what_is_the_same(folder: Path) -> None:
    models = {"good": model(log=str(folder))}
    go(campaign(folder, models))
    summary = go(campaign(folder, models, replicas=3))
    assert (summary.kept, summary.done) == (2, {"survived": 1})
    summary = go(campaign(folder, models, replicas=3, timestep_fs=2))
    assert (summary.kept, len(summary.rows)) == (0, 3)
    summary = go(campaign(folder, models))
    assert (summary.kept, len(summary.rows)) == (2, 2)
    assert len(starts(folder)) == 6


def test_an_engine_that_cannot_run_is_an_error_until_told_to_retry(folder: Path) -> None:
    fixed = folder / "fixed"
    models = {"m": model("raise", fixed=str(fixed))}
    summary = go(campaign(folder, models))
    assert statuses(summary) == {"m": ["error"] * 2}
    assert summary.rows[0]["message"] == "RuntimeError: no such pair style"
    assert summary.rows[0]["stable_time_ps"] is None
    fixed.mkdir()
    assert go(campaign(folder, models)).done == {}
    assert go(campaign(folder, models), retry_errors=True).done == {"survived": 2}


def test_a_model_that_kills_its_worker_costs_nobody_else(folder: Path) -> None:
    models = {"crash": model("crash"), "good": model(seconds=0.2), "bad": model("fail")}
    summary = go(campaign(folder, models), workers=2)
    assert statuses(summary) == {
        "crash": ["error"] * 2,
        "good": ["survived"] * 2,
        "bad": ["failed"] * 2,
    }
    message = next(row["message"] for row in summary.rows if row["model"] == "crash")
    assert "died twice, the second time with nothing beside it (signal 11, SIGSEGV)" in message


def test_a_worker_that_is_killed_once_is_forgiven(folder: Path) -> None:
    models = {"m": model("crash_once", marker=str(folder / "seen-")), "good": model(seconds=0.2)}
    summary = go(campaign(folder, models), workers=2)
    assert statuses(summary) == {"m": ["survived"] * 2, "good": ["survived"] * 2}


@pytest.mark.parametrize(
    ("do", "message"),
    [
        ("sys_exit", "the engine or the calculator called sys.exit(3)"),
        ("ctrl_c", "KeyboardInterrupt:"),
        ("os_exit", "died twice, the second time with nothing beside it (exit code 7)"),
    ],
)
def test_a_calculator_that_ends_its_process_is_the_one_that_is_an_error(
    folder: Path, do: str, message: str
) -> None:
    models = {"exits": model(do), "good": model(log=str(folder))}
    summary = go(campaign(folder, models, replicas=1), workers=1)
    assert statuses(summary) == {"exits": ["error"], "good": ["survived"]}
    assert message in summary.rows[0]["message"]
    assert len(starts(folder)) == 1
    assert go(campaign(folder, models, replicas=1), workers=1).done == {}


def test_sys_exit_in_an_executor_of_the_user(folder: Path) -> None:
    summary = go(campaign(folder, {"exits": model("sys_exit"), "good": model()}))
    assert statuses(summary) == {"exits": ["error"] * 2, "good": ["survived"] * 2}


def test_a_call_that_does_not_return_ends_by_walltime(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nequip_decorr.campaign.runner.GRACE_S", 0.5)
    models = {"hangs": model("hang"), "good": model()}
    made = campaign(folder, models, replicas=1, walltime=1)
    mine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        summary = go(made, workers=2)
        assert mine.poll() is None
    finally:
        mine.kill()
        mine.wait()
    assert statuses(summary) == {"hangs": ["interrupted"], "good": ["survived"]}
    row = next(row for row in summary.rows if row["model"] == "hangs")
    assert row["message"] == (
        "walltime; a call had not returned 0.5 s later, its process was ended"
    )
    assert row["stable_time_ps"] == 0.04
    assert programs_with(row["run_id"]) == []
    assert go(made, workers=2).done == {}  # censored by its walltime: final
    assert go(campaign(folder, {"hangs": model()}, replicas=1, walltime=9)).done.total() == 1


def programs_with(words: str) -> list[str]:
    """Command lines, of processes that are alive, with these words in them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if words in line:
            found.append(line)
    return found


def test_only_its_own_processes_are_ended(folder: Path) -> None:
    """A child that the caller starts while the campaign runs is the caller's."""

    class Busy(Watcher):
        child: Any = None

        def finished(self, spec: RunSpec, outcome: dict[str, Any]) -> None:
            if self.child is None:
                context = multiprocessing.get_context("spawn")
                self.child = context.Process(target=time.sleep, args=(600,))
                self.child.start()

    watcher = Busy()
    models = {"good": model(), "crash": model("crash")}
    summary = go(campaign(folder, models, replicas=1), workers=1, watcher=watcher)
    try:
        assert statuses(summary) == {"crash": ["error"], "good": ["survived"]}
        assert watcher.child.is_alive()
    finally:
        watcher.child.kill()
        watcher.child.join()


def test_a_poisoned_worker_is_replaced(folder: Path) -> None:
    summary = go(campaign(folder, {"m": model("poison")}, replicas=3), workers=1)
    assert statuses(summary) == {"m": ["error", "survived", "survived"]}


class _Flaky(ThreadPoolExecutor):
    """Breaks after a number of runs."""

    left = 1

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.left == 0:
            raise BrokenProcessPool("gone")
        self.left -= 1
        return super().submit(fn, *args, **kwargs)


def test_a_broken_executor_of_the_user_stops_the_campaign(folder: Path) -> None:
    with _Flaky(1) as executor:
        summary = go(campaign(folder), executor)
    assert summary.stopped == "executor"
    assert "start the same command again" in summary.message
    assert summary.done.total() == 1
    assert go(campaign(folder)).done.total() == 3


def test_half_written_runs_are_done_again(folder: Path) -> None:
    made = campaign(folder, {"m": model(log=str(folder))}, replicas=3)
    go(made)
    before = {row["run_id"]: row for row in read_runs(made.out)}
    first, second, _ = sorted(before)
    runs = made.out / "runs"
    manifest = json.loads((runs / first / "manifest.json").read_text())
    manifest.update(status="running", result=None)
    (runs / first / "manifest.json").write_text(json.dumps(manifest))
    (runs / first / "leftover").touch()
    (runs / second / "manifest.json").write_text('{"status": "surv')
    (runs / f".old-{first}-1").mkdir()
    assert [row["status"] for row in read_runs(made.out)] == ["survived"]
    summary = go(made)
    assert (summary.kept, summary.done) == (1, {"survived": 2})
    assert starts(folder)[3:] in ([first, second], [second, first])
    assert not (runs / first / "leftover").exists()
    assert not list(runs.glob(".old-*"))


def test_walltime_is_final_until_more_is_allowed(folder: Path) -> None:
    models = {"m": model("walltime")}
    summary = go(campaign(folder, models, walltime=5))
    assert statuses(summary) == {"m": ["interrupted"] * 2}
    assert summary.rows[0]["stable_time_ps"] == 0.04
    assert go(campaign(folder, models, walltime=5)).done == {}
    assert go(campaign(folder, models, walltime=3)).done == {}
    assert go(campaign(folder, models, walltime=50)).done == {"survived": 2}


def test_a_record_that_ends_too_early_is_never_a_survivor(folder: Path) -> None:
    summary = go(campaign(folder, {"m": model("cut_short")}))
    assert statuses(summary) == {"m": ["error"] * 2}
    assert "got to step 100, thermo.csv ends at step 50" in summary.rows[0]["message"]


def test_a_record_cut_short_later_is_an_error_and_can_be_made_again(folder: Path) -> None:
    made = campaign(folder, {"m": model()})
    go(made)
    run = read_runs(made.out)[0]["run_id"]
    os.truncate(made.out / "runs" / run / "thermo.csv", 100)
    row = read_runs(made.out)[0]
    assert (row["status"], row["stable_time_ps"]) == ("error", None)
    assert "record damaged: thermo.csv has 100 of" in row["message"]
    assert go(made).done == {}
    assert go(made, retry_errors=True).done == {"survived": 1}
    assert [row["status"] for row in read_runs(made.out)] == ["survived"] * 2


def test_an_input_that_changes_under_way_is_an_error(folder: Path) -> None:
    made = campaign(folder, {"m": model()}, replicas=1)
    (spec,) = plan_campaign(made)
    Path(spec.structure_file).write_text("another")
    outcome = execute_run(str(made.out / "runs" / spec.run_id), get_engine)
    assert outcome["status"] == "error"
    assert "structure file" in outcome["message"]
    assert "has changed since the campaign was planned" in outcome["message"]


def test_a_finished_run_is_not_done_twice_by_a_late_worker(folder: Path) -> None:
    made = campaign(folder, {"m": model(log=str(folder))}, replicas=1)
    run = str(made.out / "runs" / plan_campaign(made)[0].run_id)
    assert execute_run(run, get_engine)["status"] == "survived"
    assert execute_run(run, get_engine)["status"] == "survived"
    assert len(starts(folder)) == 1
    with pytest.raises(ValueError, match="no run of this name"):
        execute_run(str(made.out / "runs" / "other"), get_engine)


def test_a_full_disk_stops_the_campaign_and_loses_nothing(folder: Path) -> None:
    models = {"good": model(), "full": model("disk_full")}
    summary = go(campaign(folder, models, replicas=4), workers=1)
    assert summary.stopped == "disk full"
    assert "Free some space, then start the same command again with --retry-errors" in (
        summary.message
    )
    assert statuses(summary)["good"] == ["survived", "pending", "pending", "pending"]
    assert statuses(summary)["full"] == ["error", "pending", "pending", "pending"]
    assert summary.rows[0]["message"].startswith("disk full at ")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield path
    subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_real_full_disk(folder: Path, small_disk: Path, workers: int) -> None:
    """The engine doesn't notice that its writes fail; the runner does."""
    models = {"good": model(), "fill": model("fill", mebibytes=5)}
    made = campaign(folder, models, replicas=3, out=str(small_disk / "out"))
    summary = go(made, workers=workers)
    assert summary.stopped == "disk full"
    found = statuses(summary)
    assert "survived" not in found["fill"]
    assert "failed" not in found["good"]
    finished = [row["run_id"] for row in summary.rows if row["status"] == "survived"]
    for big in made.out.glob("runs/*/big"):
        big.unlink()
    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    summary = go(made, workers=workers, retry_errors=True)
    assert summary.stopped is None
    assert statuses(summary) == {"good": ["survived"] * 3, "fill": ["survived"] * 3}
    assert summary.kept >= len(finished)


@pytest.mark.parametrize("engine", ["ase", "lammps-library", "lammps"])
def test_md_on_a_full_disk_is_never_a_survivor(
    folder: Path, small_disk: Path, quartz: Atoms, engine: str
) -> None:
    if reason := available_engines()[engine]:
        pytest.skip(f"engine {engine}: {reason}")
    ase.io.write(folder / "quartz.xyz", quartz)
    emt = {"ase": {"calculator": "ase.calculators.emt.EMT"}}
    made = campaign(
        folder,
        {"m": emt if engine == "ase" else {"reference": "siox"}},
        structures=["cu.xyz" if engine == "ase" else "quartz.xyz"],
        engine=engine,
        trajectory_every=1,
        record_every=1,
        length_ps=1.5,
        out=str(small_disk / "out"),
    )
    summary = run_campaign(made, workers=1)
    assert summary.stopped == "disk full", summary.rows
    assert {row["status"] for row in summary.rows} <= {"error", "pending", "running"}


def test_two_runners_do_not_share_a_campaign(folder: Path) -> None:
    made = campaign(folder)

    class Second(Watcher):
        def begin(self, specs: list[RunSpec], todo: list[RunSpec], runs: Path) -> None:
            with pytest.raises(RuntimeError, match="another `stability run` works on this"):
                go(made)

    assert go(made, watcher=Second()).done.total() == 4


def test_shards_are_disjoint_and_can_run_side_by_side(folder: Path) -> None:
    models = {name: model(log=str(folder)) for name in ("a", "b")}
    made = campaign(folder, models, replicas=5)
    order = [spec.run_id for spec in plan_campaign(made)]

    class Others(Watcher):
        def begin(self, specs: list[RunSpec], todo: list[RunSpec], runs: Path) -> None:
            assert go(made, shard="2/3").stopped is None
            for shard in ("1/3", "1/2", None):
                with pytest.raises(RuntimeError, match=r"campaign .shard 1/3, process"):
                    go(made, shard=shard)

    first = go(made, shard="1/3", watcher=Others())
    last = go(made, shard="3/3")
    assert [s.done.total() for s in (first, last)] == [4, 3]
    assert sorted(starts(folder)) == sorted(order)
    assert {row["model"] for row in first.rows} == {"a", "b"}
    assert {row["status"] for row in last.rows} == {"survived"}
    assert len(last.rows) == 3
    assert (made.out / "runs.csv").read_text() == csv_text(read_runs(made.out), COLUMNS)
    whole = go(made)
    assert (whole.kept, whole.done) == (10, {})


@pytest.mark.parametrize("count", range(1, 8))
def test_shards_cover_the_plan_once_in_equal_shares(count: int) -> None:
    parts = [Shard.parse(f"{i}/{count}") for i in range(1, count + 1)]
    owners = [[p for p, part in enumerate(parts) if part.holds(n)] for n in range(24)]
    assert all(len(found) == 1 for found in owners)
    shares = Counter(found[0] for found in owners)
    assert max(shares.values()) - min(shares.values()) <= 1


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "-1/4", "1/0"])
def test_bad_shard(text: str) -> None:
    with pytest.raises(UserError, match="allowed: I/N with I from 1 to N, such as 1/4"):
        Shard.parse(text)


def test_a_run_reads_its_own_file_alone(folder: Path) -> None:
    made = campaign(folder, {"m": model()}, replicas=1)
    (spec,) = plan_campaign(made)
    run = made.out / "runs" / spec.run_id
    (made.out / "campaign.json").unlink()
    assert execute_run(str(run), get_engine)["status"] == "survived"
    assert json.loads((run / "run.json").read_text())["spec"] == json.loads(
        json.dumps(spec.to_dict())
    )


def test_a_campaign_of_the_layout_before_goes_on(folder: Path) -> None:
    """Runs had no ``run.json``, and the lock was another."""
    made = campaign(folder, {"m": model(log=str(folder))})
    go(made)
    before = csv_text(read_runs(made.out), COLUMNS)
    for path in made.out.glob("runs/*/run.json"):
        path.unlink()
    first, _ = sorted(row["run_id"] for row in read_runs(made.out))
    (made.out / "runs" / first / "manifest.json").unlink()
    summary = go(made)
    assert (summary.kept, summary.done) == (1, {"survived": 1})
    assert csv_text(read_runs(made.out), COLUMNS) == before


def test_bad_worker_count(folder: Path) -> None:
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        go(campaign(folder), workers=0)


def test_the_estimate_counts_steps_of_runs_under_way(tmp_path: Path, folder: Path) -> None:
    todo = plan_campaign(campaign(folder))
    seconds = 0.0
    estimate = TimeLeft(todo, tmp_path, clock=lambda: seconds)
    assert estimate.seconds_left() is None
    seconds = 10.0
    estimate.finished(todo[0], 100)
    assert estimate.seconds_left() == pytest.approx(30.0)
    (tmp_path / todo[1].run_id).mkdir()
    (tmp_path / todo[1].run_id / "progress").write_text("50")
    assert estimate.seconds_left() == pytest.approx(250 * 10 / 150)
    estimate.finished(todo[1], 60)
    assert estimate.seconds_left() == pytest.approx(200 * 10 / 160)
