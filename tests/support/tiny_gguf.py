"""Write a tiny llama with its tokenizer as a float32 GGUF file, as llama.cpp's converter would."""

from pathlib import Path

import gguf
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

_BLOCK_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, path: Path) -> Path:
    """Write `model` (a llama with tied embeddings) and `tokenizer` to `path` and return it."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    _add_tokenizer(writer, tokenizer)
    for name, tensor in model.state_dict().items():
        if name == "model.embed_tokens.weight":
            writer.add_tensor("token_embd.weight", tensor.numpy())
        elif name == "model.norm.weight":
            writer.add_tensor("output_norm.weight", tensor.numpy())
        elif name.startswith("model.layers."):
            layer, inner = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
            if inner == "self_attn.q_proj":
                tensor = _interleave(tensor, config.num_attention_heads)
            elif inner == "self_attn.k_proj":
                tensor = _interleave(tensor, config.num_key_value_heads)
            writer.add_tensor(f"blk.{layer}.{_BLOCK_NAMES[inner]}.weight", tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    special = set(tokenizer.all_special_tokens)
    kinds = gguf.TokenType
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([kinds.CONTROL if t in special else kinds.NORMAL for t in tokens])
    writer.add_token_scores([0.0] * len(tokens))  # instead of merges, of which there are none
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_chat_template(tokenizer.chat_template)


def _interleave(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """(heads · d, n) from transformers' order of rotary dimensions to llama.cpp's."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns).contiguous()
