"""A mixture written into the weights, as one GGUF file for llama.cpp and what is built on it.

The layout of each architecture is llama.cpp's: names by gguf-py's own table, llama's query and key
rows in the order that its rotation wants, Gemma's norms with their 1 added. Tensor by tensor, like
the model folder.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from torch import Tensor

from t2ui.checks import Alpha
from t2ui.errors import InputError, quoted
from t2ui.exchange.base_model import Base, Progress, Source, base_of
from t2ui.exchange.gguf_tokenizer import write_tokenizer
from t2ui.exchange.merged import MergedWeights, scales_for
from t2ui.exchange.tensor_files import TensorInfo
from t2ui.files import writing
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture

TYPES = {
    "f32": GGMLQuantizationType.F32,
    "f16": GGMLQuantizationType.F16,
    "bf16": GGMLQuantizationType.BF16,
    "q8_0": GGMLQuantizationType.Q8_0,
}
_OF_DTYPE = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}
_FILE_TYPES = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "bf16": gguf.LlamaFileType.MOSTLY_BF16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}
_BUFFERS = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")  # in old files; no weights


@dataclass(frozen=True)
class Layout:
    """How llama.cpp stores one architecture."""

    arch: gguf.MODEL_ARCH
    rotated: bool = False  # rows of q and k in pairs, not halves
    norm_plus_one: bool = False
    transposed: tuple[str, ...] = ()  # ends of names of matrices that are stored as (in, out)


_LLAMA = Layout(gguf.MODEL_ARCH.LLAMA, rotated=True)
LAYOUTS: Mapping[str, Layout] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": Layout(gguf.MODEL_ARCH.QWEN2),
    "qwen3": Layout(gguf.MODEL_ARCH.QWEN3),
    "gemma2": Layout(gguf.MODEL_ARCH.GEMMA2, norm_plus_one=True),
    "gemma3_text": Layout(gguf.MODEL_ARCH.GEMMA3, norm_plus_one=True),
    "phi3": Layout(gguf.MODEL_ARCH.PHI3),
    "gpt2": Layout(
        gguf.MODEL_ARCH.GPT2,
        transposed=("c_attn.weight", "c_proj.weight", "c_fc.weight"),
    ),
}


@dataclass(frozen=True)
class GGUFFile:
    """What `save_gguf` wrote."""

    file: Path
    type: str  # of its matrices
    architecture: str
    changed: int  # matrices
    bytes: int
    notes: tuple[str, ...] = ()


@dataclass
class _Plan:
    """One tensor of the file."""

    name: str
    shape: tuple[int, ...]
    type: GGMLQuantizationType
    read: Callable[[], Tensor] = field(repr=False)

    @property
    def bytes(self) -> int:
        block, size = GGML_QUANT_SIZES[self.type]
        return prod(self.shape) // block * size


def save_gguf(
    model: Source,
    experts: Mapping[str, Expert],
    mixture: Mixture | Mapping[str, Alpha],
    file: str | Path,
    *,
    tokenizer: Any = None,
    type: str = "base",
    allow_transfer: bool = False,
    device: str = "cpu",
    progress: Progress | None = None,
) -> GGUFFile:
    """Write the weights of a mixture and the tokenizer as one .gguf file, whole or not at all.

    Args:
        model, experts, mixture, tokenizer, allow_transfer, device, progress: see `save_merged`.
        file: a new file that ends in .gguf.
        type: of the matrices: f32, f16, bf16, q8_0, or "base", as they are stored. Norms and
            biases are float32 always, as llama.cpp has them.

    Raises:
        InputError: what `save_merged` raises, an architecture or a tokenizer whose GGUF layout is
            not known here, or a file that is there already.
    """
    file = Path(file)
    if file.suffix != ".gguf":
        raise InputError(f"{file.name} must end in .gguf.")
    if file.exists():
        raise InputError(f"{file} exists already: choose another --out, or remove it first.")
    if type != "base" and type not in TYPES:
        raise InputError(f"The type is {quoted(type)}; expected base, {', '.join(TYPES)}.")
    mixture = mixture if isinstance(mixture, Mixture) else Mixture(mixture)
    with base_of(model, tokenizer, device, progress) as base:
        layout = _layout(base)
        scales, notes = scales_for(base, experts, mixture, allow_transfer)
        # The sums stay float32 until they are written in the file's own type.
        weights = MergedWeights(base, scales, torch.float32)
        shown = _OF_DTYPE.get(base.dtype, "f32") if type == "base" else type
        plans = _plans(base, layout, weights, TYPES[shown])
        with writing(file) as beside:
            writer = gguf.GGUFWriter(beside, gguf.MODEL_ARCH_NAMES[layout.arch])
            try:
                notes += _describe(writer, base, layout)
                writer.add_file_type(_FILE_TYPES[shown])
                notes += write_tokenizer(
                    writer, base.tokenizer(), base.config.get_text_config().vocab_size
                )
                _write(writer, plans, progress)
            finally:
                writer.close()
    return GGUFFile(
        file=file,
        type=shown,
        architecture=gguf.MODEL_ARCH_NAMES[layout.arch],
        changed=weights.changed,
        bytes=file.stat().st_size,
        notes=tuple(notes),
    )


def _layout(base: Base) -> Layout:
    layout = LAYOUTS.get(base.config.model_type)
    if layout is None:
        raise InputError(
            f"{base.name} is a {base.config.model_type} model, whose layout in GGUF is not known "
            f"here; known are {', '.join(LAYOUTS)}: use `export merged`, and llama.cpp's own "
            "converter on that folder."
        )
    return layout


def _write(writer: gguf.GGUFWriter, plans: list[_Plan], progress: Progress | None) -> None:
    for plan in plans:
        writer.add_tensor_info(
            plan.name, plan.shape, np.dtype(np.float32), plan.bytes, raw_dtype=plan.type
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for done, plan in enumerate(plans, start=1):
        values = plan.read().float().cpu().contiguous().numpy()
        writer.write_tensor_data(gguf.quants.quantize(values, plan.type))
        if progress:
            progress(f"writing {plan.name}", done / len(plans))


def _plans(
    base: Base, layout: Layout, weights: MergedWeights, kind: GGMLQuantizationType
) -> list[_Plan]:
    """Every tensor of the file, in the base's order.

    Raises:
        InputError: a tensor that the architecture has no place for in GGUF.
    """
    config = base.config.get_text_config()
    names = gguf.get_tensor_name_map(layout.arch, config.num_hidden_layers)
    plans = []
    for info in base.infos.values():
        if info.name.endswith(_BUFFERS):
            continue
        place = names.get_name(info.name, try_suffixes=(".weight", ".bias"))
        if place is None:
            raise InputError(
                f"{base.name}: {info.name} has no place in GGUF's layout of "
                f"{gguf.MODEL_ARCH_NAMES[layout.arch]}: use `export merged`."
            )
        turned = info.name.endswith(layout.transposed) if layout.transposed else False
        shape = info.shape[::-1] if turned else info.shape
        plans.append(_Plan(place, shape, _type(shape, kind), _reader(info, layout, base, weights)))
    if factors := _rope_factors(base):
        plans.append(factors)
    return plans


def _type(shape: tuple[int, ...], kind: GGMLQuantizationType) -> GGMLQuantizationType:
    if len(shape) == 1:
        return GGMLQuantizationType.F32
    block, _ = GGML_QUANT_SIZES[kind]
    return kind if shape[-1] % block == 0 else GGMLQuantizationType.F16


def _reader(
    info: TensorInfo, layout: Layout, base: Base, weights: MergedWeights
) -> Callable[[], Tensor]:
    config = base.config.get_text_config()

    def read() -> Tensor:
        tensor = weights.read(info.name)
        if layout.transposed and info.name.endswith(layout.transposed):
            return tensor.T
        if layout.norm_plus_one and info.name.endswith("norm.weight"):
            return tensor + 1
        part = info.name.rsplit(".", 2)[-2]
        if layout.rotated and part in ("q_proj", "k_proj"):
            heads = config.num_attention_heads
            return in_pairs(tensor, heads if part == "q_proj" else config.num_key_value_heads)
        return tensor

    return read


def in_pairs(tensor: Tensor, heads: int) -> Tensor:
    """Rows (heads · d, …) from halves, as transformers rotates them, to llama.cpp's pairs."""
    halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
    return halves.swapaxes(1, 2).reshape(tensor.shape)


def _rope_factors(base: Base) -> _Plan | None:
    """Llama 3.1's stretched rotary frequencies, which GGUF keeps as a tensor of divisors."""
    rope = _rope(base)
    if rope.get("rope_type", "default") != "llama3":
        return None
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = base.config.get_text_config()
    stretched, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    steps = torch.arange(0, 2 * len(stretched), 2, dtype=torch.float32) / (2 * len(stretched))
    divisors = rope["rope_theta"] ** -steps / stretched
    return _Plan(
        "rope_freqs.weight", tuple(divisors.shape), GGMLQuantizationType.F32, lambda: divisors
    )


def _rope(base: Base) -> dict[str, Any]:
    """Rotary settings; of a model that has them by kind of layer, those of full attention."""
    found = getattr(base.config.get_text_config(), "rope_parameters", None) or {}
    return found.get("full_attention", found)


def _describe(writer: gguf.GGUFWriter, base: Base, layout: Layout) -> list[str]:
    """Write what llama.cpp needs to know of the architecture; returns what is worth saying.

    Raises:
        InputError: a kind of rotary scaling that is not known here.
    """
    config = base.config.get_text_config()
    notes: list[str] = []
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_name(base.name)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(heads)
    if layout.arch == gguf.MODEL_ARCH.GPT2:
        writer.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return notes
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    rope = _rope(base)
    share = rope.get("partial_rotary_factor") or 1.0
    writer.add_rope_dimension_count(int(head_dim * share))
    writer.add_rope_freq_base(rope.get("rope_theta", 10_000.0))
    kind = rope.get("rope_type", "default")
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    elif kind not in ("default", "llama3"):
        raise InputError(
            f"{base.name} stretches its positions by {kind!r}, which is not known here for GGUF: "
            "use `export merged`, and llama.cpp's own converter on that folder."
        )
    window = getattr(config, "sliding_window", None)
    if layout.norm_plus_one:
        scalar = getattr(config, "query_pre_attn_scalar", head_dim)
        if scalar not in (head_dim, config.hidden_size // heads):  # as the published sizes have it
            notes.append(
                f"llama.cpp scales attention by the width of the heads, {head_dim}; this model by "
                f"its query_pre_attn_scalar, {scalar}, so llama.cpp will answer otherwise"
            )
        if getattr(config, "attn_logit_softcapping", None):
            writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        if getattr(config, "final_logit_softcapping", None):
            writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if layout.arch == gguf.MODEL_ARCH.PHI3:
        writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
    if window and layout is not _LLAMA and getattr(config, "use_sliding_window", True):
        writer.add_sliding_window(window)
    elif window and layout is _LLAMA and window < config.max_position_embeddings:
        notes.append(
            f"GGUF's llama has no sliding window: beyond {window:,} tokens the file answers "
            "otherwise than the model"
        )
    return notes
