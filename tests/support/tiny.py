"""Tiny random models and a real tokenizer, made in code: what tests use instead of downloads.

Every model has 2 layers, hidden size 32 and the vocabulary of `make_tokenizer()`. Biases and norm
weights are random too, so that a bias that gets lost or a norm that is skipped shows in the logits.
"""

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    BltConfig,
    CLIPVisionConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    LlavaConfig,
    MistralConfig,
    MixtralConfig,
    Phi3Config,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    T5GemmaConfig,
    T5GemmaModuleConfig,
)

ARCHITECTURES = (
    "llama",
    "qwen2",  # q, k and v have biases
    "qwen3",  # norms on q and k
    "gemma2",  # soft-capped logits, norms around both halves of a block
    "gemma3",  # one sliding-window layer, one full layer
    "mistral",  # sliding window
    "phi3",  # fused qkv_proj and gate_up_proj
    "gpt2",  # Conv1D: transposed weights, biases everywhere
    "llava",  # a vision tower beside a llama backbone
)
OTHERS = (
    "mixtral",  # an MLP of several experts, fused into one parameter: only attention is adapted
    "t5gemma",  # encoder and decoder: refused
    "blt",  # bytes: four stacks of blocks, refused
)
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>")
PAD_ID, BOS_ID, END_ID, IMAGE_ID = 0, 1, 2, 3
VOCABULARY = len(SPECIAL_TOKENS) + 256
WINDOW = 8  # tokens a sliding-window layer sees
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tiny(architecture: str, seed: int = 0) -> PreTrainedModel:
    """A random float32 model of one of ARCHITECTURES or OTHERS in eval mode, gradients off.

    The same seed gives the same weights; torch's global generator is left as it was.
    """
    config = _config(architecture)
    classes = {"llava": AutoModelForImageTextToText, "t5gemma": AutoModelForSeq2SeqLM}
    auto = classes.get(architecture, AutoModelForCausalLM)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = auto.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:  # biases start at zero and norms at one otherwise
                    parameter.add_(0.2 * torch.randn_like(parameter))
    model.config.name_or_path = f"tiny-{architecture}"
    return model.eval().requires_grad_(False)


def saved(model, folder):
    """A tiny model and the tokenizer as transformers writes them; the folder."""
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer, one token a byte: every text round-trips, and a character outside
    ASCII takes several tokens, as in real models. It has SmolLM2's special tokens and chat format
    (without a default system prompt)."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIAL_TOKENS, *alphabet])}
    tokenizer = Tokenizer(BPE(vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=["<image>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def text_of(tokenizer, ids) -> str:
    return tokenizer.decode(ids)


def _config(architecture: str):
    shape = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,  # not a multiple of hidden: a transposed matrix cannot fit
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 512,
        # Large enough that logits are far from uniform and every matrix matters; small enough that
        # attention does not saturate and blow up rounding errors.
        "initializer_range": 0.25,
        "tie_word_embeddings": False,
        "pad_token_id": PAD_ID,
        "bos_token_id": BOS_ID,
        "eos_token_id": END_ID,
    }
    if architecture == "llama":
        return LlamaConfig(**shape | {"tie_word_embeddings": True})  # as in SmolLM2
    if architecture == "qwen2":
        del shape["head_dim"]
        return Qwen2Config(**shape)
    if architecture == "qwen3":
        return Qwen3Config(**shape)
    if architecture == "gemma2":
        return Gemma2Config(
            **shape | {"tie_word_embeddings": True},
            sliding_window=WINDOW,
            query_pre_attn_scalar=8,
            layer_types=["sliding_attention", "full_attention"],
        )
    if architecture == "gemma3":
        return Gemma3TextConfig(
            **shape | {"tie_word_embeddings": True},
            sliding_window=WINDOW,
            query_pre_attn_scalar=8,
            layer_types=["sliding_attention", "full_attention"],
        )
    if architecture == "mistral":
        return MistralConfig(**shape, sliding_window=WINDOW)
    if architecture == "phi3":
        del shape["head_dim"]
        return Phi3Config(**shape, original_max_position_embeddings=512)
    if architecture == "gpt2":
        return GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=32,
            n_inner=48,
            n_layer=2,
            n_head=4,
            n_positions=512,
            initializer_range=0.25,
            pad_token_id=PAD_ID,
            bos_token_id=BOS_ID,
            eos_token_id=END_ID,
        )
    if architecture == "llava":
        vision = CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=16,
            patch_size=8,
            projection_dim=16,
        )
        return LlavaConfig(
            vision_config=vision,
            text_config=LlamaConfig(**shape),
            image_token_index=IMAGE_ID,
            vision_feature_layer=-1,
            pad_token_id=PAD_ID,
            tie_word_embeddings=False,
        )
    if architecture == "mixtral":
        return MixtralConfig(**shape, num_local_experts=2)
    if architecture == "t5gemma":
        stack = T5GemmaModuleConfig(**shape, sliding_window=WINDOW, query_pre_attn_scalar=8)
        return T5GemmaConfig(encoder=stack, decoder=stack, vocab_size=VOCABULARY)
    if architecture == "blt":
        kept = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        stack = {key: shape[key] for key in kept}
        local = {**stack, "vocab_size": VOCABULARY, "hidden_size_global": 32}
        return BltConfig(
            vocab_size=VOCABULARY,
            patcher_config={**stack, "vocab_size": VOCABULARY},
            encoder_config=local,
            decoder_config=local,
            global_config=stack,
            encoder_hash_byte_group_size=[3],
            encoder_hash_byte_group_vocab=50,
        )
    raise ValueError(f"{architecture!r} is none of {', '.join((*ARCHITECTURES, *OTHERS))}")
