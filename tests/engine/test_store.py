import json
import math
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from sskd.config import digest
from sskd.engine.store import MetricLog, Store, read_metrics, write_json_atomic

KEY = digest("a stage")
OTHER = digest("another")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "home" / "store")


def fill(store, name="transfer", key=KEY, result=None):
    with store.stage(name, key) as slot:
        assert not slot.done
        (slot.folder / "weights.safetensors").write_bytes(b"12345")
        MetricLog(slot.folder / "metrics.jsonl").append(1, {"loss": 2.0})
        return slot.commit(result or {"seconds": 1.5})


def test_a_committed_stage_is_found_and_not_computed_again(store):
    assert store.read("transfer", KEY) is None
    written = fill(store)
    with store.stage("transfer", KEY) as slot:
        assert slot.done
        assert slot.folder == store.path(KEY, "transfer") == written.folder
        assert slot.stage == written
    assert written.name == "transfer"
    assert written.key == KEY
    assert written.result == {"seconds": 1.5}
    assert written.weights.read_bytes() == b"12345"
    assert written.metrics()[0]["loss"] == 2.0
    assert written.size == sum(p.stat().st_size for p in written.folder.iterdir())
    assert json.loads((written.folder / "result.json").read_text())["key"] == KEY
    assert store.path(KEY, "transfer").name == f"transfer-{KEY[:16]}"


def test_entries_lists_finished_stages_only(store):
    assert store.entries() == ()
    second, first = fill(store, "transfer"), fill(store, "evaluate_transfer", OTHER)
    with store.stage("refinement", KEY):
        assert store.entries() == (first, second)
    assert store.entries() == (first, second)


def test_what_an_unfinished_attempt_left_is_offered_again(store):
    def attempt():
        with store.stage("transfer", KEY) as slot:
            (slot.folder / "checkpoint.pt").write_text("step 10")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt()
    assert store.read("transfer", KEY) is None
    with store.stage("transfer", KEY) as slot:
        assert not slot.done
        assert (slot.folder / "checkpoint.pt").read_text() == "step 10"
        slot.commit({})
        assert slot.done
        assert (slot.folder / "checkpoint.pt").exists()


# What the child does last, and whether the stage counts as finished afterwards.
DEATHS = {
    "while working": ("die()", False),
    "before the result is whole": ("store.os.fsync = die; slot.commit({})", False),
    "between result and rename": ("store.Path.rename = die; slot.commit({'a': 1})", True),
    "after the rename": ("slot.commit({'a': 1}); die()", True),
}


@pytest.mark.parametrize("death", DEATHS)
def test_no_moment_of_death_leaves_a_half_stage(store, death):
    last_words, finished = DEATHS[death]
    child = f"""
import os, signal, sys
from pathlib import Path
from sskd.engine import store
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
with store.Store(Path(sys.argv[1])).stage("transfer", {KEY!r}) as slot:
    (slot.folder / "work").write_text("half")
    {last_words}
"""
    done = subprocess.run([sys.executable, "-c", child, str(store.root)])
    assert done.returncode == -signal.SIGKILL
    began = time.monotonic()
    with store.stage("transfer", KEY, waiting=pytest.fail) as slot:
        assert slot.done is finished
        assert (slot.folder / "work").read_text() == "half"
        assert not finished or slot.stage.result == {"a": 1}
    assert time.monotonic() - began < 5


def test_a_temporary_file_of_a_killed_writer_does_not_enter_the_stage(store):
    with store.stage("transfer", KEY) as slot:
        (slot.folder / ".weights.safetensors.tmp").write_bytes(b"half")
        stage = slot.commit({})
    assert [path.name for path in stage.folder.iterdir()] == ["result.json"]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"stage": "transfer"}', None])
def test_a_folder_without_a_valid_result_is_not_a_stage(store, damage):
    folder = fill(store).folder
    if damage is None:
        (folder / "result.json").unlink()
    else:
        (folder / "result.json").write_text(damage)
    assert store.read("transfer", KEY) is None
    assert store.entries() == ()
    assert fill(store, result={"again": True}).result == {"again": True}
    assert store.read("transfer", KEY).result == {"again": True}


def test_the_whole_key_counts_not_the_digits_in_the_name(store):
    fill(store)
    assert store.read("transfer", KEY[:16] + OTHER[16:]) is None
    assert store.read("transfer", KEY[:16]).key == KEY


def test_the_second_process_waits_and_gets_the_first_ones_result(store):
    working, release, waited = threading.Event(), threading.Event(), []

    def work():
        with store.stage("transfer", KEY) as slot:
            working.set()
            assert release.wait(20)
            slot.commit({"by": "first"})

    def waiting(name):
        waited.append(name)
        release.set()

    first = threading.Thread(target=work)
    first.start()
    assert working.wait(20)
    with store.stage("transfer", KEY, waiting=waiting) as slot:
        assert slot.done
        assert slot.stage.result == {"by": "first"}
    first.join()
    assert waited == ["transfer"]


def test_of_many_at_once_one_computes(store):
    computed, results = [], []

    def work(number):
        with store.stage("transfer", KEY) as slot:
            if not slot.done:
                computed.append(number)
                time.sleep(0.05)
                slot.commit({"by": number})
            results.append(slot.stage.result["by"])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(computed) == 1
    assert results == computed * 6


def test_a_finished_stage_is_shared_without_waiting(store):
    fill(store)
    with store.stage("transfer", KEY) as one, store.stage("transfer", KEY) as two:
        assert one.stage == two.stage


def test_deleting_the_whole_store_costs_only_the_work(store):
    fill(store)
    subprocess.run(["rm", "-r", str(store.root)], check=True)
    assert store.read("transfer", KEY) is None
    fill(store)


# --- metric histories


def test_a_resumed_history_has_every_step_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricLog(path)
    log.append(1, {"loss": 3.0})
    saved = log.offset
    log.append(2, {"loss": 2.0})
    resumed = MetricLog(path)
    resumed.truncate(saved)
    resumed.append(2, {"loss": 2.5})
    rows = read_metrics(path)
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 3.0), (2, 2.5)]
    assert abs(rows[1]["time"] - time.time()) < 60


def test_a_history_starts_anew_at_offset_0(tmp_path):
    log = MetricLog(tmp_path / "metrics.jsonl")
    assert log.offset == 0
    log.truncate(0)
    log.append(1, {})
    log.truncate(0)
    assert read_metrics(log.path) == ()
    with pytest.raises(ValueError, match="0 bytes, but 5 when its checkpoint was saved"):
        log.truncate(5)


def test_numbers_that_json_lacks_are_null(tmp_path):
    log = MetricLog(tmp_path / "metrics.jsonl")
    log.append(1, {"a": math.nan, "b": -math.inf, "c": 1e-30})
    row = json.loads(log.path.read_text())
    assert (row["a"], row["b"], row["c"]) == (None, None, 1e-30)


def test_a_line_cut_by_a_kill_is_neither_read_nor_continued(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricLog(path)
    log.append(1, {"loss": 1.0})
    with path.open("ab") as file:
        file.write(b'{"step": 2, "lo')
    assert [row["step"] for row in read_metrics(path)] == [1]
    MetricLog(path).append(2, {"loss": 1.0})
    assert [row["step"] for row in read_metrics(path)] == [1, 2]


def test_a_broken_line_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nnonsense\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: not JSON"):
        read_metrics(path)
    assert read_metrics(tmp_path / "absent.jsonl") == ()


# --- JSON files


def test_json_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_json_atomic(path, {"ap": math.nan, "sizes": (1, 2), "inner": [{"x": math.inf}]})
    assert json.loads(path.read_text()) == {"ap": None, "sizes": [1, 2], "inner": [{"x": None}]}
    before = path.read_text()
    with pytest.raises(TypeError):
        write_json_atomic(path, {"bad": object()})

    def fail(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_json_atomic(path, {"new": 1})
    assert path.read_text() == before
