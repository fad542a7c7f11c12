"""What a report says of where its numbers come from: data, scale, and settings made by hand."""

from pathlib import Path
from typing import Any

import pytest
from made_home import Home


def report(home: Home, out: Path, **plan: Any) -> str:
    for cell in home.plan(1, **plan):
        home.write(cell, 0.2)
    return home.report(out, command="sskd").path.read_text("utf-8")


@pytest.mark.parametrize(
    ("scale", "data", "reason"),
    [
        ("small", "cityscapes", "another scale"),
        ("small", "street", "other data and another scale"),
        ("paper", "street", "other data"),
        ("paper", "cityscapes", None),
    ],
)
def test_the_papers_levels_compare_on_its_data_at_its_scale(
    home: Home, tmp_path: Path, scale: str, data: str, reason: str | None
) -> None:
    text = report(home, tmp_path / "out", scale=scale, data=data)
    assert (f"The paper's levels come from {reason}: compare" in text) is bool(reason)
    assert ("The paper's levels come from" in text) is bool(reason)
    assert (", apart, because only their order can compare" in text) is bool(reason)


def test_equal_means_are_in_no_order(home: Home, tmp_path: Path) -> None:
    text = report(home, tmp_path / "out")
    assert (
        "the order is Fusion = Class = Mask = Uniform; the paper's is "
        "Fusion > Class > Mask > Uniform." in text
    )


def test_the_papers_order_is_that_of_its_numbers_on_this_data(home: Home, tmp_path: Path) -> None:
    numbers = {"uniform": 9.0, "mask": 7.0, "class": 8.0, "fusion": 6.0}
    variants = {
        name: variant.model_copy(update={"paper_on": {"ade20k": {"mask_ap": numbers[name]}}})
        for name, variant in home.ablation.variants.items()
    }
    home.ablation = home.ablation.model_copy(update={"variants": variants})
    text = report(home, tmp_path / "out", scale="small", data="ade20k")
    assert "the paper's is Uniform > Class > Mask > Fusion." in text


def test_variants_that_are_compared_with_nothing_claim_nothing(home: Home, tmp_path: Path) -> None:
    variants = {
        name: variant.model_copy(update={"against": name})
        for name, variant in home.ablation.variants.items()
    }
    home.ablation = home.ablation.model_copy(update={"variants": variants})
    text = report(home, tmp_path / "out")
    assert "**Not comparable: what the paper compares with is not run here.**" in text
    assert "Uniform: single seed, so no ±" in text
    assert "Variant \N{MINUS SIGN} counterpart" not in text


def test_settings_made_by_hand_stand_before_what_the_scale_says_of_itself(
    home: Home, tmp_path: Path
) -> None:
    changes = {"student__head__width": 32, "views__crop": [64, 64], "runtime__device": "cpu"}
    text = report(home, tmp_path / "out", scale="small", data="cityscapes", **changes)
    line = (
        "- Set by hand, over what the lines below say, with the scale's own value after it: "
        "`views.crop` [64, 64] ([256, 256]), `student.head.width` 32 (128).\n"
    )
    assert text.index(line) < text.index("\n- The teacher is mm-Grounding-DINO")
    plain = report(home, tmp_path / "out", scale="small", data="cityscapes")
    assert "Set by hand" not in plain
