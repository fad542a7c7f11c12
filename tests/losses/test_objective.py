"""Equation 3."""

import math
from typing import get_args

import pytest
import torch

from sskd.losses.contrastive import ContrastTerms
from sskd.losses.objective import objective
from sskd.studies.declaration import Diagnostic


def number(value):
    return torch.tensor(float(value), requires_grad=True)


def contrast_terms(value):
    return ContrastTerms(number(value), *(torch.tensor(float(i)) for i in range(9)))


def test_terms_are_weighed_and_kept_unweighted():
    terms = objective(number(3), number(5), contrast_terms(7), semi_weight=0.5, pxl_weight=0.2)
    assert terms.total.item() == pytest.approx(3 + 2.5 + 1.4)
    logged = terms.metrics()
    assert {name: float(logged[name]) for name in ("loss_sup", "loss_semi", "loss_pxl")} == {
        "loss_sup": 3,
        "loss_semi": 5,
        "loss_pxl": 7,
    }
    assert {"margin", "false_negative_rate", "background_rate", "valid_anchors"} <= set(logged)
    assert not any(value.requires_grad for value in logged.values())


def test_a_declaration_may_name_every_metric_of_a_training():
    terms = objective(number(3), number(5), contrast_terms(7), semi_weight=0.5, pxl_weight=0.2)
    of_the_loop = {"grad_norm", "learning_rate", "images_per_second"}
    assert set(get_args(Diagnostic)) == {*terms.metrics(), *of_the_loop}


def test_stage_without_a_term_does_not_log_it():
    terms = objective(number(3), None, None, semi_weight=0.0, pxl_weight=0.0)
    assert terms.total.item() == 3
    assert set(terms.metrics()) == {"loss", "loss_sup"}


def test_pseudo_labels_alone():
    assert objective(None, number(4), None, semi_weight=2.0, pxl_weight=0.0).total.item() == 8


def test_term_of_weight_zero_is_reported_and_spoils_nothing():
    terms = objective(
        number(3), number(math.inf), contrast_terms(math.nan), semi_weight=0.0, pxl_weight=0.0
    )
    assert terms.total.item() == 3
    assert math.isinf(terms.metrics()["loss_semi"])


def test_nothing_to_train_on_is_an_error():
    with pytest.raises(ValueError, match="no term"):
        objective(None, number(1), None, semi_weight=0.0, pxl_weight=0.2)
