"""Equation 3 of arXiv 2604.03841: one objective for every stage, with other coefficients."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from sskd.losses.contrastive import ContrastTerms

__all__ = ["LossTerms", "objective"]


class LossTerms(NamedTuple):
    """The objective and its terms, before their weights."""

    total: Float[Tensor, ""]
    sup: Float[Tensor, ""] | None
    semi: Float[Tensor, ""] | None
    contrast: ContrastTerms | None

    def metrics(self) -> dict[str, Tensor | float]:
        """What is logged, by name; a value is nan where nothing was measured."""
        values: dict[str, Tensor | float] = {"loss": self.total.detach()}
        if self.sup is not None:
            values["loss_sup"] = self.sup.detach()
        if self.semi is not None:
            values["loss_semi"] = self.semi.detach()
        if self.contrast is not None:
            values["loss_pxl"] = self.contrast.loss.detach()
            values |= {name: x for name, x in self.contrast._asdict().items() if name != "loss"}
        return values


def objective(
    sup: Float[Tensor, ""] | None,
    semi: Float[Tensor, ""] | None,
    contrast: ContrastTerms | None,
    *,
    semi_weight: float,
    pxl_weight: float,
) -> LossTerms:
    """Weigh and add what a stage uses.

    Equation 3::

        J = L_sup(D_l) + lambda_semi L_semi(D_u) + lambda_pxl L_pxl(D_l u D_u)

    Args:
        sup: Set loss of the labeled images; ``None`` where the stage has none.
        semi: Set loss of the pseudo-labeled images; ``None`` where the stage has none.
        contrast: Of all images; ``None`` where the stage does without.
        semi_weight: lambda_semi, >= 0.
        pxl_weight: lambda_pxl, >= 0. A term with weight 0 is reported and not trained on.

    Returns:
        The terms; each is kept unweighted.

    Raises:
        ValueError: If there is no term at all.
    """
    weighted = [] if sup is None else [sup]
    if semi is not None and semi_weight > 0:
        weighted.append(semi_weight * semi)
    if contrast is not None and pxl_weight > 0:
        weighted.append(pxl_weight * contrast.loss)
    if not weighted:
        raise ValueError("the objective has no term: labels, pseudo-labels or contrast is needed")
    total = weighted[0]
    for term in weighted[1:]:
        total = total + term
    return LossTerms(total, sup, semi, contrast)
