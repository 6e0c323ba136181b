"""What a parameter is, told from its path and shape.

Every parameter has one kind at most: `kernels`, `biases`, `norms` and `embeddings` never overlap.
Names are compared without case and numbers; `*` is any words. The first row that fits decides.

| kind      | the leaf is called                   | or                                           |
|-----------|--------------------------------------|----------------------------------------------|
| embedding | embedding, *_embed, *_emb, cls,      | weight, without a bias beside it, in a       |
|           | *_token, wte, wpe, *_table           | module called embed (Equinox)                |
| norm      | scale, *_scale, gamma,               | weight that is a vector, or shaped like its  |
|           | negative_slope: all gains            | bias, or in a module called norm, ln, bn;    |
|           |                                      | bias, offset, beta of a norm: beside scale,  |
|           |                                      | gamma or such a weight, or in such a module, |
|           |                                      | and with no kernel beside it                 |
| bias      | bias, *_bias, b, b_*, offset, beta,  |                                              |
|           | of any rank: (heads, d_head) as well |                                              |
| kernel    | kernel, weight, w, *_kernel,         | a leaf of rank >= 2 named like a layer:      |
|           | *_weight, w_*, wq, lora_a, lora_b    | linear, *_proj, *_einsum, query, head;       |
|           |                                      | a and b in a module called lora              |
| none      | anything else; use `path(...)`       |                                              |

Two selectors are drawn across kinds:

- heads: every parameter of a module called head, lm_head, *_head, logits, classifier, unembed; or,
  at the top level only, output, out, out_proj, readout, final_layer and the like. Not the heads or
  the output of attention, nor a whole model that is called classifier. An embedding that is also
  the output stays an embedding.
- matrices: kernels of rank >= 2 which, with attention's head axes merged and stacking axes (scan,
  experts) set aside, multiply vectors: Dense, query/key/value/out, experts, LoRA. Not heads,
  embeddings or convolutions (by name, or of rank >= 4 outside of attention and experts).

The top level is what lies directly below the path that all parameters share. Which `Dense_k` of an
anonymous MLP is its last cannot be told from names: it is a matrix and not a head; say
`path("Dense_2/*")`. A one-dimensional convolution is known by its name only.
"""

from __future__ import annotations

import re

from optlab.selectors._leaves import Leaf, Shape, words

KERNEL, BIAS, NORM, EMBEDDING = "kernel", "bias", "norm", "embedding"

_NAMES = (  # the first that fits; the names are without numbers
    (EMBEDDING, r"(?!patch_)(.*_)?(emb|embeds?|embeddings?)|cls|(.*_)?tokens?|wte|wpe|.*_table"),
    (NORM, r"(.*_)?(scale|gamma)|negative_slope"),
    (BIAS, r"(.*_)?bias|bias_.*|b|b_[a-z]{1,2}|offset|beta"),
    (KERNEL, r"(.*_)?(kernel|weight|w)|(kernel|weight|w)_.*|weights|w[a-z]|w[qkv]{2,3}|lora_[ab]"),
)
_PATTERNS = [(kind, re.compile(pattern)) for kind, pattern in _NAMES]

_LAYERS = {"linear", "dense", "einsum", "proj", "projection", "fc", "mlp", "conv", "head", "logits"}
_NORMS = {"norm", "norms", "layernorm", "rmsnorm", "batchnorm", "groupnorm", "ln", "bn", "gn"}
_EMBEDDINGS = {"embed", "embeds", "embedding", "embeddings", "embedder", "emb", "wte", "wpe"}
_QUERY, _KEY, _VALUE = {"q", "query"}, {"k", "key"}, {"v", "value"}
_JOINT = {"qkv", "kv"}
_EXPERTS = {"expert", "experts", "moe"}
_HEADS = {"head", "heads", "logits", "logits_dense", "classifier", "unembed", "unembedding"}
_NOT_OUTPUT = {"multi", "attn", "attention", "self", "map", "pool", "pooling"}
_OUTPUTS = {
    *("out", "out_proj", "out_layer", "output", "output_proj", "output_projection", "output_layer"),
    *("fc_out", "proj_out", "readout", "prediction", "predictions", "final_layer", "final_dense"),
}


def kind(leaf: Leaf) -> str | None:
    """The kind of a parameter, by the first table of this module."""
    found = _kind_of_name(leaf.name, leaf.shape)
    if leaf.name in ("a", "b") and "lora" in words(leaf.module):
        return KERNEL
    if leaf.name == "weight":
        return _kind_of_weight(leaf, leaf.shape, leaf.siblings.get("bias"))
    if found == BIAS and _belongs_to_norm(leaf):
        return NORM
    return found


def is_head(leaf: Leaf) -> bool:
    """Whether a parameter belongs to the output layer, by the second table."""
    parts = leaf.parts[leaf.depth :]
    for i, part in enumerate(parts):
        if _is_attention(part):
            return False
        if _is_head_name(part):
            return not any(_is_attention(p) or _is_projection(p) for p in parts[i + 1 :])
    direct = 0 < len(parts) <= 2
    return direct and "_".join(words(parts[0])) in _OUTPUTS and not _beside_query_and_key(leaf)


def is_matrix(leaf: Leaf) -> bool:
    """Whether a parameter is a hidden matrix, by the second table."""
    if kind(leaf) != KERNEL or is_head(leaf):
        return False
    return leaf.shape is None or (len(leaf.shape) >= 2 and not _is_convolution(leaf, leaf.shape))


def _kind_of_name(name: str, shape: Shape | None) -> str | None:
    for found, pattern in _PATTERNS:
        if pattern.fullmatch(name):
            return found
    last = name.rsplit("_", 1)[-1]
    layer = last in _LAYERS or _is_projection(name) or name in ("patch_embed", "patch_embedding")
    return KERNEL if layer and shape is not None and len(shape) >= 2 else None


def _kind_of_weight(leaf: Leaf, shape: Shape | None, bias: Shape | None) -> str:
    """Equinox and PyTorch call the gain of a norm and the table of an embedding `weight` too."""
    if shape is not None and (len(shape) <= 1 or shape == bias):
        return NORM
    if _is_norm_name(leaf.module) and bias is None:
        return NORM
    module = words(leaf.module)
    embeds = module[-1:] and module[-1] in _EMBEDDINGS and "patch" not in module
    return EMBEDDING if embeds and "bias" not in leaf.siblings else KERNEL


def _belongs_to_norm(leaf: Leaf) -> bool:
    if "weight" in leaf.siblings:
        return _kind_of_weight(leaf, leaf.siblings["weight"], leaf.shape) == NORM
    if any(_kind_of_name(name, shape) == KERNEL for name, shape in leaf.siblings.items()):
        return False
    return _is_norm_name(leaf.module) or bool({"scale", "gamma"} & set(leaf.siblings))


def _is_norm_name(part: str) -> bool:
    names = words(part)
    return bool(names) and bool({names[0], names[-1]} & _NORMS) and names[-1] not in _LAYERS


def _is_attention(part: str) -> bool:
    names = words(part)
    return bool({"attn", "attention", "mha", "multihead"} & set(names)) or names[:2] == (
        "multi",
        "head",
    )


def _is_projection(part: str) -> bool:
    """Whether a part names an attention's query, key or value, such as `q_proj`."""
    names = words(part)
    return (
        bool(names)
        and names[0] in _QUERY | _KEY | _VALUE | _JOINT
        and names[1:]
        in (
            (),
            ("proj",),
            ("projection",),
            ("einsum",),
        )
    )


def _beside_query_and_key(leaf: Leaf) -> bool:
    first = {words(name)[0] for name in leaf.cousins | set(leaf.siblings) if words(name)}
    return bool(first & _QUERY and first & _KEY) or bool(first & _JOINT)


def _is_head_name(part: str) -> bool:
    names = words(part)
    if "_".join(names) in _HEADS:
        return True
    return len(names) > 1 and names[-1] in ("head", "heads") and names[-2] not in _NOT_OUTPUT


def _is_convolution(leaf: Leaf, shape: Shape) -> bool:
    last = words(leaf.module) + words(leaf.parts[-1])
    if any(word.startswith("conv") for word in last):
        return True
    inside = {word for part in leaf.parts for word in words(part)}
    attention = any(map(_is_attention, leaf.parts)) or any(map(_is_projection, leaf.parts))
    if attention or _beside_query_and_key(leaf) or inside & _EXPERTS:
        return False
    bias = leaf.siblings.get("bias", leaf.siblings.get("b"))
    if leaf.name == "weight" and bias is not None and len(bias) == len(shape) - 1 > 1:
        return bias != shape[:-1]  # Equinox: (out, 1, 1) beside (out, in, k, k)
    stacked = len(bias) - 1 if bias else 0
    return len(shape) - stacked >= 4
