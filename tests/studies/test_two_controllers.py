"""Two launches at the same time, of ablations that share stages."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from fake_cell import mask_ap, plan_cell, said, set_options

from sskd.reporting.analysis import analyse
from sskd.reporting.report import write_report
from sskd.studies.cells import cells, identify
from sskd.studies.declaration import load_ablation
from sskd.studies.ledger import study_status

SCRIPT = Path(__file__).with_name("launch.py")
NAMES = ("negatives", "negative-pool")


def test_two_controllers_share_stages_and_both_reports_are_right(home, tiny, tmp_path):
    set_options(home, seconds=0.02)
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(home), "1", "1", name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in NAMES
    ]
    for process in processes:
        _, complaints = process.communicate(timeout=300)
        assert (process.returncode, complaints) == (0, "")
    teachers = [stage for stage in said(home, "stage") if stage.startswith("supervised")]
    assert len(teachers) == 1  # all cells need it, and one controller made it
    assert max(Counter(said(home, "stage")).values()) == 1
    assert [(s.failed, s.pending, s.running) for s in study_status(home)] == [(0, 0, 0)] * 2
    for name in NAMES:
        ablation = load_ablation(name, Path("/nowhere"))
        planned = cells(ablation, tiny, {}, [0])
        found = identify(planned, lambda config: plan_cell(config, home=home).fingerprint)
        analysis = analyse(ablation, found, home=home)
        assert analysis.missing == []
        for arm in analysis.arms:
            expected = 100 * mask_ap(arm.cells[0].config)
            assert arm.values("mask_ap") == {0: pytest.approx(expected)}
        path = write_report(analysis, home=home, out=tmp_path / name, command="c").path
        assert "Missing cells" not in path.read_text("utf-8")
