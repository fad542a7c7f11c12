"""Where Cityscapes' own AP was measured, it stands beside COCO's; tables say whose each is."""

import csv
import io

import pytest
from made_home import Home

from sskd.reporting.analysis import Analysis, analyse
from sskd.reporting.captions import comparison_caption, power_caption, result_caption, whose_classes
from sskd.reporting.long_form import to_csv
from sskd.reporting.tables import comparison_rows, power_rows, result_rows, seed_rows


def finished(home: Home, *, both: bool) -> Analysis:
    for cell in home.plan(2, evaluation__cityscapes=both):
        ap = 0.3 + 0.01 * cell.seed
        home.write(cell, ap, official=ap / 2 if both else None)
    return analyse(home.ablation, home.cells, home=home.path)


def words(rows: list[list[str]]) -> str:
    return "\n".join(" | ".join(row) for row in rows)


def test_the_benchmarks_ap_stands_beside_cocos_in_every_table(home: Home) -> None:
    analysis = finished(home, both=True)
    assert analysis.metrics == ("mask_ap", "mask_ap50", "cityscapes_ap", "cityscapes_ap50")
    header, first, *_ = result_rows(analysis)
    assert first[header.index("Cityscapes AP (%) ↑")] == "15.2 ± 0.4"
    assert first[header.index("AP (%) ↑")] == "30.5 ± 0.7"
    assert "paper AP" in header  # what the paper prints stands beside AP
    assert "paper Cityscapes AP" not in header
    for rows in (comparison_rows(analysis), power_rows(analysis), seed_rows(analysis)):
        assert "Cityscapes AP50" in words(rows)
    captions = (
        result_caption(analysis),
        comparison_caption(analysis),
        power_caption(analysis, power=0.8),
    )
    for caption in captions:
        assert "faster-coco-eval" in caption
        assert "cityscapesscripts" in caption
    assert whose_classes(analysis) == ", by COCO's definition"
    values = {
        (row["variant"], row["seed"]): float(row["value"])
        for row in csv.DictReader(io.StringIO(to_csv(analysis)))
        if row["metric"] == "cityscapes_ap"
    }
    assert values["fusion", "1"] == pytest.approx(0.155)


def test_without_it_a_report_says_what_it_said(home: Home) -> None:
    analysis = finished(home, both=False)
    assert analysis.metrics == ("mask_ap", "mask_ap50")
    for rows in (result_rows(analysis), comparison_rows(analysis), seed_rows(analysis)):
        assert "Cityscapes" not in words(rows)
    assert "cityscapesscripts" not in result_caption(analysis) + comparison_caption(analysis)
    assert "cityscapes_ap" not in to_csv(analysis)
