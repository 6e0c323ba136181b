"""Parameter trees of usual models, as shapes only, each beside what every leaf of it is.

A table gives each path its kind in one letter (k kernel, b bias, n norm, e embedding) and, behind
it, h for the output layer and m for a hidden matrix.
"""

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
from flax import nnx

KEY = jax.random.key(0)


class LinenMLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        for width in (8, 8, 3):
            x = nn.Dense(width)(x)
        return x


LINEN_MLP = {
    "Dense_0/bias": "b",
    "Dense_0/kernel": "km",
    "Dense_1/bias": "b",
    "Dense_1/kernel": "km",
    "Dense_2/bias": "b",  # the output, but no name says so
    "Dense_2/kernel": "km",
}


class LinenCNN(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), name="stem")(x)  # known as a convolution by its rank only
        x = nn.BatchNorm(use_running_average=False)(x)
        x = nn.Conv(4, (3, 3))(x)
        x = nn.GroupNorm(2)(x)
        x = nn.ConvTranspose(4, (3, 3))(x)
        return nn.Dense(3, name="classifier")(x.mean((1, 2)))


LINEN_CNN = {
    "BatchNorm_0/bias": "n",
    "BatchNorm_0/scale": "n",
    "ConvTranspose_0/bias": "b",
    "ConvTranspose_0/kernel": "k",
    "Conv_0/bias": "b",
    "Conv_0/kernel": "k",
    "GroupNorm_0/bias": "n",
    "GroupNorm_0/scale": "n",
    "classifier/bias": "bh",
    "classifier/kernel": "kh",
    "stem/bias": "b",
    "stem/kernel": "k",
}


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _=None):
        attention = nn.MultiHeadDotProductAttention(num_heads=2, normalize_qk=True)
        x = x + attention(nn.LayerNorm()(x))
        y = nn.Dense(16)(nn.RMSNorm()(x))
        return x + nn.Dense(8, name="output")(y), None


class LinenTransformer(nn.Module):
    scanned: bool = False

    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(11, 8, name="token_embed")(tokens)
        x += self.param("pos_embedding", nn.initializers.zeros, (1, 4, 8))
        if self.scanned:
            stack = nn.scan(
                Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=3
            )
            x, _ = stack(name="block")(x, None)
        else:
            x, _ = Block(name="block")(x)
        x = nn.LayerNorm(name="ln_f", use_scale=False)(x)
        return nn.Dense(11, name="lm_head")(x)


_ATTENTION = {
    "key/bias": "b",
    "key/kernel": "km",
    "key_ln/scale": "n",
    "out/bias": "b",
    "out/kernel": "km",
    "query/bias": "b",
    "query/kernel": "km",
    "query_ln/scale": "n",
    "value/bias": "b",
    "value/kernel": "km",
}

LINEN_TRANSFORMER = {
    "block/Dense_0/bias": "b",
    "block/Dense_0/kernel": "km",
    "block/LayerNorm_0/bias": "n",
    "block/LayerNorm_0/scale": "n",
    **{f"block/MultiHeadDotProductAttention_0/{k}": v for k, v in _ATTENTION.items()},
    "block/RMSNorm_0/scale": "n",
    "block/output/bias": "b",  # the output of a block is not the model's
    "block/output/kernel": "km",
    "lm_head/bias": "bh",
    "lm_head/kernel": "kh",
    "ln_f/bias": "n",  # no scale beside it: the module's name tells
    "pos_embedding": "e",
    "token_embed/embedding": "e",
}


class NNXTransformer(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(11, 8, rngs=rngs)
        self.cls_token = nnx.Param(jnp.zeros((1, 1, 8)))
        self.patch_embed = nnx.Conv(3, 8, (2, 2), rngs=rngs)
        self.norms = nnx.List([nnx.LayerNorm(8, rngs=rngs)])
        self.attn = nnx.MultiHeadAttention(
            2,
            8,
            8,
            decode=False,
            normalize_qk=True,
            rngs=rngs,
            out_kernel_init=nnx.initializers.ones,
        )
        self.mlp = nnx.List([nnx.LoRALinear(8, 8, lora_rank=2, rngs=rngs)])
        self.out = nnx.Linear(8, 11, rngs=rngs)


NNX_TRANSFORMER = {
    **{f"attn/{k}": v for k, v in _ATTENTION.items()},
    "cls_token": "e",
    "embed/embedding": "e",
    "mlp/0/bias": "b",
    "mlp/0/kernel": "km",
    "mlp/0/lora/lora_a": "km",
    "mlp/0/lora/lora_b": "km",
    "norms/0/bias": "n",
    "norms/0/scale": "n",
    "out/bias": "bh",
    "out/kernel": "kh",
    "patch_embed/bias": "b",
    "patch_embed/kernel": "k",
}


class NNXCNN(nnx.Module):
    def __init__(self, rngs):
        self.conv1 = nnx.Conv(1, 4, (3, 3), rngs=rngs)
        self.bn1 = nnx.BatchNorm(4, rngs=rngs)
        self.fc1 = nnx.Linear(4, 8, rngs=rngs)
        self.logits = nnx.Linear(8, 3, rngs=rngs)


NNX_CNN = {
    "bn1/bias": "n",
    "bn1/scale": "n",
    "conv1/bias": "b",
    "conv1/kernel": "k",
    "fc1/bias": "b",
    "fc1/kernel": "km",
    "logits/bias": "bh",
    "logits/kernel": "kh",
}


class EquinoxModel(eqx.Module):
    conv: eqx.nn.Conv2d
    down: eqx.nn.Conv1d
    plane_norm: eqx.nn.LayerNorm
    gain: eqx.nn.RMSNorm
    attention: eqx.nn.MultiheadAttention
    embedding: eqx.nn.Embedding
    mlp: eqx.nn.MLP
    cell: eqx.nn.GRUCell
    slope: eqx.nn.PReLU
    head: eqx.nn.Linear

    def __init__(self):
        self.conv = eqx.nn.Conv2d(3, 4, 3, key=KEY)
        self.down = eqx.nn.Conv1d(3, 4, 3, key=KEY)
        self.plane_norm = eqx.nn.LayerNorm((4, 5))
        self.gain = eqx.nn.RMSNorm(4, use_bias=False)
        self.attention = eqx.nn.MultiheadAttention(2, 8, use_output_bias=True, key=KEY)
        self.embedding = eqx.nn.Embedding(5, 8, key=KEY)
        self.mlp = eqx.nn.MLP(8, 4, 6, 1, key=KEY)
        self.cell = eqx.nn.GRUCell(3, 3, key=KEY)
        self.slope = eqx.nn.PReLU()
        self.head = eqx.nn.Linear(4, 3, key=KEY)


EQUINOX = {
    "conv/weight": "k",
    "conv/bias": "b",  # (4, 1, 1)
    "down/weight": "k",
    "down/bias": "b",
    "plane_norm/weight": "n",  # (4, 5)
    "plane_norm/bias": "n",
    "gain/weight": "n",
    "attention/query_proj/weight": "km",
    "attention/key_proj/weight": "km",
    "attention/value_proj/weight": "km",
    "attention/output_proj/weight": "km",
    "attention/output_proj/bias": "b",
    "embedding/weight": "e",
    "mlp/layers/0/weight": "km",
    "mlp/layers/0/bias": "b",
    "mlp/layers/1/weight": "km",
    "mlp/layers/1/bias": "b",
    "cell/weight_ih": "km",
    "cell/weight_hh": "km",
    "cell/bias": "b",
    "cell/bias_n": "b",
    "slope/negative_slope": "n",
    "head/weight": "kh",
    "head/bias": "bh",
}


def _haiku_model(x):
    x = hk.nets.MLP([4, 4])(x)
    x = hk.LayerNorm(-1, True, True)(x)
    x += hk.Embed(5, 4)(jnp.zeros(2, int)).sum()
    x = hk.MultiHeadAttention(2, 2, w_init=hk.initializers.Constant(0.0))(x, x, x)
    x = x + hk.Conv2D(3, 3)(jnp.ones((1, 4, 4, 3))).sum()
    x, _ = hk.GRU(4)(x, x)
    x = hk.RMSNorm(-1)(x)
    return hk.Linear(3, name="classifier")(x)


HAIKU = {
    "classifier/b": "bh",
    "classifier/w": "kh",
    "conv2_d/b": "b",
    "conv2_d/w": "k",
    "embed/embeddings": "e",
    "gru/b": "b",
    "gru/w_h": "km",
    "gru/w_i": "km",
    "layer_norm/offset": "n",
    "layer_norm/scale": "n",
    "mlp/~/linear_0/b": "b",
    "mlp/~/linear_0/w": "km",
    "mlp/~/linear_1/b": "b",
    "mlp/~/linear_1/w": "km",
    "multi_head_attention/key/b": "b",
    "multi_head_attention/key/w": "km",
    "multi_head_attention/linear/b": "b",
    "multi_head_attention/linear/w": "km",
    "multi_head_attention/query/b": "b",
    "multi_head_attention/query/w": "km",
    "multi_head_attention/value/b": "b",
    "multi_head_attention/value/w": "km",
    "rms_norm/scale": "n",
}


def _linen(module, *inputs):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return jax.eval_shape(module.init, KEY, *inputs)["params"]


def _nnx(module):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return nnx.state(nnx.eval_shape(lambda: module(nnx.Rngs(0))), nnx.Param)


def _is_float(leaf):
    return isinstance(leaf, jax.ShapeDtypeStruct) and jnp.issubdtype(leaf.dtype, jnp.floating)


def _equinox():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return eqx.filter(eqx.filter_eval_shape(EquinoxModel), _is_float)


def _haiku():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return jax.eval_shape(hk.transform(_haiku_model).init, KEY, jnp.ones((1, 8)))


TOKENS = jnp.zeros((1, 4), int)
MODELS = {
    "linen_mlp": (lambda: _linen(LinenMLP(), jnp.ones((1, 5))), LINEN_MLP),
    "linen_cnn": (lambda: _linen(LinenCNN(), jnp.ones((1, 4, 4, 1))), LINEN_CNN),
    "linen_transformer": (lambda: _linen(LinenTransformer(), TOKENS), LINEN_TRANSFORMER),
    "linen_scanned": (lambda: _linen(LinenTransformer(scanned=True), TOKENS), LINEN_TRANSFORMER),
    "nnx_cnn": (lambda: _nnx(NNXCNN), NNX_CNN),
    "nnx_transformer": (lambda: _nnx(NNXTransformer), NNX_TRANSFORMER),
    "equinox": (_equinox, EQUINOX),
    "haiku": (_haiku, HAIKU),
}
