"""The parts of the benchmarks that compute: a wrong figure would not be noticed otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import measured, procfs, report, wrk
from benchmarks.server import Site, parse_metrics


def test_series_shows_median_and_range() -> None:
    """The range only where there is one."""
    assert f"{report.Series.of([3.0, 1.0, 2.0]):.1f}" == "2.0 (1.0 to 3.0)"
    assert f"{report.Series.of([3.0]):.1f}" == "3.0"


def test_percentile_is_one_of_the_values() -> None:
    """Nothing is interpolated."""
    values = [float(n) for n in range(100, 0, -1)]
    assert report.percentile(values, 50) == 51
    assert report.percentile(values, 99) == 100
    assert report.percentile([7.0], 99) == 7


def test_slope_is_the_growth_for_each_unit() -> None:
    """And nothing where nothing can be said."""
    assert report.slope([(0, 10), (1, 12), (2, 14)]) == pytest.approx(2)
    assert report.slope([(1, 10)]) == 0


def test_load_is_read_from_what_wrk_printed() -> None:
    """The script's line stands among wrk's own."""
    line = (
        'JSON {"requests": 500, "duration_us": 2000000, "bad_status": 1, "broken": 2, '
        '"p50_us": 1500, "p99_us": 3000, "p999_us": 9000}'
    )
    load = wrk.parse(f"Running 2s test\n  500 requests in 2.00s\n{line}\n")
    assert load == wrk.Load(500, 2.0, 1, 2, 1.5, 3.0, 9.0)
    assert load.rate == 250
    with pytest.raises(SystemExit, match="did not go through"):
        load.check()


def test_load_that_did_not_finish_shows_what_wrk_said() -> None:
    """Such as a script it cannot read."""
    with pytest.raises(SystemExit, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:1")


def test_scripts_of_wrk_name_the_origin_and_the_size(tmp_path: Path) -> None:
    """What is sent is what the round says."""
    text = wrk.post_script(tmp_path, origin="127.0.0.1:9", body_bytes=1024).read_text()
    assert 'string.rep("x", 1024)' in text
    assert '"127.0.0.1:9"' in text
    assert "request = function" not in text
    varied = wrk.post_script(tmp_path, origin="127.0.0.1:9", body_bytes=9, vary="length")
    assert 'string.rep("x", 9 + i % 10)' in varied.read_text()
    mixed = wrk.mix_script(tmp_path, [wrk.Kind("127.0.0.1:9", "/a", 5)], pause_ms=7).read_text()
    assert '{origin="127.0.0.1:9", path="/a", size=5}' in mixed
    assert "return 7" in mixed
    assert "%%" not in mixed


def test_metrics_are_read_with_their_labels() -> None:
    """Comments and blank lines are none."""
    text = '# HELP a b\n# TYPE a counter\na_total 12\n\nstate{state="ready"} 3\n'
    assert parse_metrics(text) == {"a_total": 12.0, 'state{state="ready"}': 3.0}


def test_disk_in_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync would cost nothing, and the figures would be wrong."""
    monkeypatch.setattr(procfs, "file_system", lambda path: "tmpfs")
    with pytest.raises(SystemExit, match="tmpfs"):
        procfs.require_real_disk(tmp_path)


def test_file_system_of_proc_is_proc() -> None:
    """The deepest mount that holds the path."""
    assert procfs.file_system(Path("/proc/version")) == "proc"


def test_own_process_can_be_looked_at() -> None:
    """CPU time, memory and files have the right size and unit."""
    pid = os.getpid()
    memory = procfs.memory(pid)
    assert 2**20 < memory.anonymous < memory.resident <= memory.peak
    assert procfs.cpu_seconds(pid) > 0
    assert procfs.open_files(pid) >= 3


def test_processor_time_of_a_server_is_that_of_its_children_too() -> None:
    """A parent does next to nothing by itself."""
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert measured.cpu_seconds(os.getpid()) >= procfs.cpu_seconds(os.getpid()) + 0.25
        child.communicate(b"\n")


def test_site_keeps_its_settings_apart_from_ours(tmp_path: Path) -> None:
    """Its logs are below its directory, and its ports are its own."""
    environment = Site(tmp_path, {"WORKER": "7"}).environment()
    assert environment["WORKER"] == "7"
    assert environment["TRANSACTION_LOG"] == str(tmp_path / "transaction.log")
    assert environment["LISTEN"] != environment["API_LISTEN"]
