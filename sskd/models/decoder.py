"""The masked-attention transformer decoder of Mask2Former (Cheng et al., CVPR 2022).

Axes: b images, m queries, d width, f channels of the mask features, n keys of a level,
hm wm locations of the mask features, c_plus_1 classes and "no object".
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerSinePositionEmbedding,
    Mask2FormerTransformerModule,
)

from sskd.config import DecoderConfig
from sskd.types import LayerOutput

__all__ = ["MaskedAttentionDecoder"]

_LEVELS = 3


class MaskedAttentionDecoder(nn.Module):
    """Queries that read the feature maps where their own mask of the layer before says.

    The parameters are those of ``transformers``' ``Mask2FormerTransformerModule``, under its
    names; the forward pass is our own, because on small maps that of the library spends most of its
    time on copies: batch first here, fused attention, masks without a copy a head, position
    codes kept from call to call. A test holds the two equal.
    """

    def __init__(
        self, config: DecoderConfig, *, level_width: int, mask_width: int, num_classes: int
    ) -> None:
        """Random weights; the caller seeds.

        Args:
            config: Sizes of the decoder.
            level_width: Channels of the three maps that the queries read.
            mask_width: Channels of the map that the masks are drawn on.
            num_classes: Foreground classes.

        Raises:
            ValueError: If the width leaves no room for sine and cosine of both axes.
        """
        super().__init__()
        if config.width % 4:
            raise ValueError(
                f"decoder.width must be a multiple of 4 for its position codes, got {config.width}"
            )
        self.heads = config.heads
        self.dropout = config.dropout
        self.transformer: Any = Mask2FormerTransformerModule(
            level_width,
            Mask2FormerConfig(
                num_queries=config.queries,
                decoder_layers=config.layers + 1,  # transformers counts the queries' own prediction
                num_attention_heads=config.heads,
                hidden_dim=config.width,
                mask_feature_size=mask_width,
                dim_feedforward=config.feedforward,
                dropout=config.dropout,
            ),
        )
        self.class_head = nn.Linear(config.width, num_classes + 1)
        self._initialise()

    def forward(
        self,
        levels: Sequence[Float[Tensor, "b _ _ _"]],
        mask_features: Float[Tensor, "b f hm wm"],
    ) -> list[LayerOutput]:
        """The prediction of the bare queries, then that after each layer.

        Args:
            levels: Three maps, coarse first; the layers read them in turn.
            mask_features: The map that the masks are drawn on.
        """
        assert len(levels) == _LEVELS
        transformer = self.transformer
        tokens = []
        for index, features in enumerate(levels):
            flat = transformer.input_projections[index](features).flatten(2).transpose(1, 2)
            tokens.append(flat + transformer.level_embed.weight[index])  # (b, n, d)
        positions = [
            _positions(*level.shape[-2:], transformer.queries_embedder.embedding_dim, level.device)
            for level in levels
        ]
        query_position = transformer.queries_embedder.weight
        queries = transformer.queries_features.weight.expand(len(mask_features), -1, -1)
        outputs = [self._predict(queries, mask_features)]
        for index, layer in enumerate(transformer.decoder.layers):
            level = index % _LEVELS
            height, width = levels[level].shape[-2:]
            attend = _inside(outputs[-1].mask_logits, (height, width))
            queries = self._cross_attention(
                layer, queries, query_position, tokens[level], positions[level], attend
            )
            queries = self._self_attention(layer, queries, query_position)
            queries = self._feedforward(layer, queries)
            outputs.append(self._predict(queries, mask_features))
        return outputs

    def _predict(self, queries: Tensor, mask_features: Tensor) -> LayerOutput:
        queries = self.transformer.decoder.layernorm(queries)
        masks = self.transformer.decoder.mask_predictor.mask_embedder(queries)
        return LayerOutput(
            torch.einsum("bmf,bfhw->bmhw", masks, mask_features), self.class_head(queries)
        )

    def _cross_attention(
        self,
        layer: Any,
        queries: Float[Tensor, "b m d"],
        query_position: Float[Tensor, "m d"],
        tokens: Float[Tensor, "b n d"],
        positions: Float[Tensor, "n d"],
        attend: Bool[Tensor, "b 1 m n"],
    ) -> Float[Tensor, "b m d"]:
        weights = layer.cross_attn.in_proj_weight.chunk(3)
        biases = layer.cross_attn.in_proj_bias.chunk(3)
        sources = (queries + query_position, tokens + positions, tokens)
        q, k, v = (functional.linear(*args) for args in zip(sources, weights, biases, strict=True))
        update = layer.cross_attn.out_proj(self._attention(q, k, v, attend))
        return self._add(queries, update, layer.cross_attn_layer_norm)

    def _self_attention(self, layer: Any, queries: Tensor, query_position: Tensor) -> Tensor:
        attention = layer.self_attn
        placed = queries + query_position
        q, k, v = attention.q_proj(placed), attention.k_proj(placed), attention.v_proj(queries)
        update = attention.out_proj(self._attention(q, k, v, None))
        return self._add(queries, update, layer.self_attn_layer_norm)

    def _feedforward(self, layer: Any, queries: Tensor) -> Tensor:
        hidden = self._drop(layer.activation_fn(layer.fc1(queries)))
        return self._add(queries, layer.fc2(hidden), layer.final_layer_norm)

    def _attention(
        self,
        q: Float[Tensor, "b m d"],
        k: Float[Tensor, "b n d"],
        v: Float[Tensor, "b n d"],
        attend: Bool[Tensor, "b 1 m n"] | None,
    ) -> Float[Tensor, "b m d"]:
        mixed = functional.scaled_dot_product_attention(
            self._split(q),
            self._split(k),
            self._split(v),
            attn_mask=attend,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return mixed.transpose(1, 2).flatten(2)

    def _split(self, values: Tensor) -> Tensor:
        batch, length, width = values.shape
        return values.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

    def _add(self, queries: Tensor, update: Tensor, norm: nn.Module) -> Tensor:
        added: Tensor = norm(queries + self._drop(update))
        return added

    def _drop(self, values: Tensor) -> Tensor:
        return functional.dropout(values, self.dropout, self.training) if self.dropout else values

    def _initialise(self) -> None:
        """As Mask2Former: Xavier in the layers; torch's own defaults elsewhere."""
        for layer in self.transformer.decoder.layers:
            for parameter in layer.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)
            nn.init.zeros_(layer.cross_attn.in_proj_bias)
        for projection in self.transformer.input_projections:
            if isinstance(projection, nn.Conv2d):
                nn.init.xavier_uniform_(projection.weight)
                assert projection.bias is not None
                nn.init.zeros_(projection.bias)


@torch.no_grad()
def _inside(
    mask_logits: Float[Tensor, "b m hm wm"], size: tuple[int, int]
) -> Bool[Tensor, "b 1 m n"]:
    """Where each query may look: inside its mask, or everywhere if that is empty at this size."""
    small = functional.interpolate(mask_logits, size, mode="bilinear", align_corners=False)
    inside = small.flatten(2) >= 0
    return (inside | ~inside.any(-1, keepdim=True)).unsqueeze(1)


@lru_cache(maxsize=32)
def _positions(height: int, width: int, dim: int, device: torch.device) -> Float[Tensor, "n d"]:
    """Sine codes of the locations of a map, in rows."""
    with torch.inference_mode(False):  # what is kept here must serve training too
        embedder = Mask2FormerSinePositionEmbedding(num_position_features=dim // 2, normalize=True)
        shape = torch.Size((1, dim, height, width))
        codes: Tensor = embedder(shape, device, torch.float32)
        return codes[0].flatten(1).T.contiguous()
