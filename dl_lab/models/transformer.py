"""A pre-norm Transformer: a causal language model, or a classifier or regressor for texts and patches of an image."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl_lab.core.errors import ConfigError, require
from dl_lab.core.schema import PositiveInt, Schema
from dl_lab.data.spec import DataSpec
from dl_lab.nn import functional
from dl_lab.nn.activations import ACTIVATIONS, ActivationName
from dl_lab.registry import MODELS

KeyValue = tuple[Tensor, Tensor]  # of the positions so far, each (batch, head, time, embedding / heads)


class TransformerConfig(Schema):
    """`context_length`: the largest number of tokens in a sequence; `patch_size`: the side of an image patch in pixels.

    `tied_embeddings`: the output layer shares the weight of the token embedding (Press & Wolf 2016, arXiv:1608.05859).
    """

    num_layers: PositiveInt
    num_heads: PositiveInt
    embedding_size: PositiveInt
    context_length: PositiveInt
    patch_size: PositiveInt
    activation: ActivationName
    bias: bool
    tied_embeddings: bool

    def __post_init__(self) -> None:
        require(
            self.embedding_size % self.num_heads == 0,
            "model.num_heads",
            self.num_heads,
            f"a divisor of model.embedding_size={self.embedding_size}",
        )


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, arXiv:1706.03762, section 3.2)."""

    def __init__(self, config: TransformerConfig, causal: bool):
        super().__init__()
        self.num_heads, self.causal = config.num_heads, causal
        self.query_key_value = nn.Linear(config.embedding_size, 3 * config.embedding_size, bias=config.bias)
        self.projection = nn.Linear(config.embedding_size, config.embedding_size, bias=config.bias)

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute queries, keys and values (batch, head, time, embedding / heads) from x (batch, time, embedding)."""
        batch, time, size = x.shape
        split = self.query_key_value(x).view(batch, time, 3, self.num_heads, size // self.num_heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # (3, batch, head, time, embedding / heads)
        return query, key, value

    def forward(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        """Map x (batch, time, embedding) to the same shape. Positions that are not `real` (batch, time) are padding."""
        return self.with_cache(x, None, real)[0]

    def with_cache(self, x: Tensor, past: KeyValue | None, real: Tensor | None = None) -> tuple[Tensor, KeyValue]:
        """Map x, all positions (past=None) or the one after the `past`, to the same shape and what is past then."""
        query, key, value = self._heads(x)
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        mixed = functional.attention(query, key, value, self.causal and past is None, real)
        return self.projection(mixed.transpose(1, 2).flatten(2)), (key, value)

    def weights(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        """Return the attention weights softmax(Q K^T / sqrt(d)), of shape (batch, head, query, key)."""
        query, key, _ = self._heads(x)
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        if self.causal:
            future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
            scores = scores.masked_fill(future, float("-inf"))
        if real is not None:
            scores = scores.masked_fill(~real[:, None, None], float("-inf"))
        return scores.softmax(dim=-1)


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x)) (pre-norm: Xiong et al. 2020, arXiv:2002.04745)."""

    def __init__(self, config: TransformerConfig, causal: bool, make_dropout: Callable[[], nn.Module]):
        super().__init__()
        size = config.embedding_size
        self.attention_norm = nn.LayerNorm(size, bias=config.bias)
        self.attention = Attention(config, causal)
        self.attention_dropout = make_dropout()
        self.feedforward_norm = nn.LayerNorm(size, bias=config.bias)
        self.expand = nn.Linear(size, 4 * size, bias=config.bias)
        self.activation = ACTIVATIONS[config.activation]
        self.contract = nn.Linear(4 * size, size, bias=config.bias)
        self.feedforward_dropout = make_dropout()

    def forward(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        """Map x (batch, time, embedding) to the same shape. Positions that are not `real` (batch, time) are padding."""
        return self.with_cache(x, None, real)[0]

    def with_cache(self, x: Tensor, past: KeyValue | None, real: Tensor | None = None) -> tuple[Tensor, KeyValue]:
        """As that of Attention."""
        mixed, past = self.attention.with_cache(self.attention_norm(x), past, real)
        x = x + self.attention_dropout(mixed)
        hidden = self.activation(self.expand(self.feedforward_norm(x)))
        return x + self.feedforward_dropout(self.contract(hidden)), past


@MODELS.register("transformer", TransformerConfig, kinds={"tokens", "image"})
class Transformer(nn.Module):
    """The layout and initialization of GPT-2 (Radford et al. 2019) for language. For images, a Vision Transformer
    (Dosovitskiy et al. 2020, arXiv:2010.11929) without class token: no position is hidden from another, and the head
    receives the mean over positions. The same for targets of a text, whose padding is ignored.
    """

    gains_from_compiling = True  # many operations between the matrix products: compiling saves a sixth of a step

    def __init__(self, config: TransformerConfig, spec: DataSpec, make_dropout: Callable[[], nn.Module]):
        super().__init__()
        self.on_tokens, self.causal, self.padding = spec.kind == "tokens", spec.is_language, spec.padding
        self.patch_size = config.patch_size
        size = config.embedding_size
        if self.on_tokens:
            assert spec.vocabulary is not None
            positions = spec.input_shape[0]
            require(
                positions <= config.context_length,
                "model.context_length",
                config.context_length,
                f"{positions} or more",
            )
            self.embedding: nn.Module = nn.Embedding(spec.vocabulary, size)
        else:
            positions, patch_values = self._patch_grid(spec)
            self.embedding = nn.Linear(patch_values, size)
        self.positions = nn.Embedding(positions, size)
        self.embedding_dropout = make_dropout()
        self.blocks = nn.ModuleList(Block(config, self.causal, make_dropout) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(size, bias=config.bias)
        tied = self.causal and config.tied_embeddings
        self.head = nn.Linear(size, spec.num_outputs, bias=config.bias and not tied)
        self._initialize(config.num_layers)
        if tied:
            assert isinstance(self.embedding, nn.Embedding)
            self.head.weight = self.embedding.weight

    def _patch_grid(self, spec: DataSpec) -> tuple[int, int]:
        """Return the number of patches of an image and the number of values of a patch."""
        channels, height, width = spec.input_shape
        if height % self.patch_size or width % self.patch_size:
            raise ConfigError(
                f"model.patch_size={self.patch_size} does not divide images of {height}x{width}; "
                f"allowed: {', '.join(str(n) for n in range(1, height + 1) if not (height % n or width % n))}"
            )
        return height * width // self.patch_size**2, channels * self.patch_size**2

    def _initialize(self, num_layers: int) -> None:
        """Initialize as GPT-2: std 0.02, divided by sqrt(2 * layers) for projections into the residual stream."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                into_residual = name.endswith(("attention.projection", "contract"))
                nn.init.normal_(module.weight, std=0.02 * (2 * num_layers) ** -0.5 if into_residual else 0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def _embed(self, inputs: Tensor) -> Tensor:
        """Map tokens (batch, time) or images (batch, channel, height, width) to (batch, time, embedding)."""
        if not self.on_tokens:
            inputs = F.unfold(inputs, self.patch_size, stride=self.patch_size).transpose(1, 2)
        return self.embedding(inputs) + self.positions.weight[: inputs.shape[1]]

    def forward(self, inputs: Tensor) -> Tensor:
        """Map tokens (batch, time) or images to logits (batch, time, vocabulary) or other outputs (batch, output)."""
        x, real = self.embedding_dropout(self._embed(inputs)), self._real(inputs)
        for block in self.blocks:
            x = block(x, real)
        x = self.norm(x)
        if real is not None:
            return self.head((x * real[..., None]).sum(dim=1) / real.sum(dim=1, keepdim=True))
        return self.head(x if self.causal else x.mean(dim=1))

    def _real(self, inputs: Tensor) -> Tensor | None:
        """The positions (batch, time) that are no padding. The first one counts even in an empty text."""
        if self.padding is None:
            return None
        return (inputs != self.padding) | (torch.arange(inputs.shape[1], device=inputs.device) == 0)

    def with_cache(self, tokens: Tensor, cache: list[KeyValue] | None) -> tuple[Tensor, list[KeyValue]]:
        """Logits of tokens (batch, time), and a cache with which the next call takes one further token (batch, 1)."""
        start = cache[0][0].shape[2] if cache else 0
        x, past = self.embedding(tokens) + self.positions.weight[start : start + tokens.shape[1]], []
        for number, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            x, key_value = block.with_cache(x, cache[number] if cache else None)
            past.append(key_value)
        return self.head(self.norm(x)), past

    def attention_weights(self, inputs: Tensor) -> Tensor:
        """Return the attention weights (layer, batch, head, query, key); each row sums to 1."""
        x, real, weights = self._embed(inputs), self._real(inputs), []
        for block in self.blocks:
            assert isinstance(block, Block)
            weights.append(block.attention.weights(block.attention_norm(x), real))
            x = block(x, real)
        return torch.stack(weights)
