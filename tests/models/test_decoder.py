"""The decoder is Mask2Former's, whatever we do for speed."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from sskd.config import DecoderConfig
from sskd.models.decoder import MaskedAttentionDecoder


@pytest.mark.parametrize("layers", [1, 5])
@pytest.mark.parametrize("level_width", [16, 24])
def test_equals_the_decoder_of_transformers(layers: int, level_width: int) -> None:
    torch.manual_seed(0)
    decoder = _decoder(layers=layers, level_width=level_width).eval()
    levels = [torch.randn(2, level_width, size, size + 1) for size in (2, 4, 8)]
    mask_features = torch.randn(2, 12, 16, 18)
    with torch.no_grad():
        ours = decoder(levels, mask_features)
        theirs = decoder.transformer(levels, mask_features)
        classes = [
            decoder.class_head(hidden.transpose(0, 1))
            for hidden in theirs.intermediate_hidden_states
        ]
    assert len(ours) == layers + 1
    for layer, masks, logits in zip(ours, theirs.masks_queries_logits, classes, strict=True):
        torch.testing.assert_close(layer.mask_logits, masks, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(layer.class_logits, logits, rtol=1e-4, atol=1e-4)


def test_a_query_reads_only_inside_its_mask() -> None:
    torch.manual_seed(0)
    decoder = _decoder(layers=1, level_width=16).eval()
    levels = [torch.randn(1, 16, 4, 4), torch.randn(1, 16, 8, 8), torch.randn(1, 16, 8, 8)]
    mask_features = torch.randn(1, 12, 16, 16)
    with torch.no_grad():
        before = decoder(levels, mask_features)[0].mask_logits[0]
        inside = torch.nn.functional.interpolate(before[None], (4, 4), mode="bilinear")[0] >= 0
        # Self-attention would carry in what the other queries read.
        torch.nn.init.zeros_(decoder.transformer.decoder.layers[0].self_attn.out_proj.weight)
        area = inside.flatten(1).sum(1)
        query = int(((area > 0) & (area < 16)).nonzero()[0])
        old = _last_masks(decoder, levels, mask_features)[query]
        levels[0][0, :, ~inside[query]] += 10
        assert torch.equal(_last_masks(decoder, levels, mask_features)[query], old)
        levels[0][0, :, inside[query]] += 10
        assert not torch.equal(_last_masks(decoder, levels, mask_features)[query], old)


def test_a_query_with_an_empty_mask_reads_everywhere() -> None:
    torch.manual_seed(0)
    decoder = _decoder(layers=1, level_width=16).eval()
    levels = [torch.randn(1, 16, 4, 4) for _ in range(3)]
    with torch.no_grad():
        # The last linear map of the mask embedder gives ones, whatever the query.
        *_, weight, bias = decoder.transformer.decoder.mask_predictor.mask_embedder.parameters()
        torch.nn.init.zeros_(weight)
        torch.nn.init.ones_(bias)
        mask_features = torch.full((1, 12, 16, 16), -1.0)
        before, after = decoder(levels, mask_features)
        levels[0][0, :, 3, 3] += 10
        _, moved = decoder(levels, mask_features)
    assert (before.mask_logits < 0).all()
    assert after.class_logits.isfinite().all()
    assert (after.class_logits != moved.class_logits).any(-1).all()


def test_dropout_is_for_training_only() -> None:
    torch.manual_seed(0)
    decoder = _decoder(layers=2, level_width=16, dropout=0.5)
    levels = [torch.randn(1, 16, 4, 4) for _ in range(3)]
    mask_features = torch.randn(1, 12, 16, 16)
    with torch.no_grad():
        assert not torch.equal(
            _last_masks(decoder, levels, mask_features), _last_masks(decoder, levels, mask_features)
        )
        decoder.eval()
        assert torch.equal(
            _last_masks(decoder, levels, mask_features), _last_masks(decoder, levels, mask_features)
        )


def test_a_width_without_room_for_position_codes_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^decoder\.width must be a multiple of 4.*got 18$"):
        _decoder(layers=1, level_width=16, width=18)


def _last_masks(
    decoder: MaskedAttentionDecoder, levels: Sequence[Tensor], mask_features: Tensor
) -> Tensor:
    masks: Tensor = decoder(levels, mask_features)[-1].mask_logits[0]
    return masks


def _decoder(
    *, layers: int, level_width: int, dropout: float = 0.0, width: int = 16
) -> MaskedAttentionDecoder:
    config = DecoderConfig(
        queries=6, layers=layers, heads=2, width=width, feedforward=32, dropout=dropout
    )
    return MaskedAttentionDecoder(config, level_width=level_width, mask_width=12, num_classes=3)
