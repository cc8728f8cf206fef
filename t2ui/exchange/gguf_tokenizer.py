"""A tokenizer in a GGUF file, from what its fast form (tokenizer.json) says."""

import json
from typing import Any

import gguf
from gguf import TokenType

from t2ui.errors import InputError

# What llama.cpp calls the ways to cut text before byte pairs are merged, by their expression.
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS = {
    _WORDS + r"\p{N}{1,3}" + _REST: "llama-bpe",
    _WORDS + r"\p{N}" + _REST: "qwen2",
}
_SPECIAL = ("bos", "eos", "unk", "pad")


def write_tokenizer(writer: gguf.GGUFWriter, tokenizer: Any, vocabulary: int) -> list[str]:
    """Add a tokenizer to a GGUF file.

    Args:
        vocabulary: rows of the model's embedding; ids without a token become unused ones.

    Returns:
        Sentences on what llama.cpp may do otherwise.

    Raises:
        InputError: no tokenizer, or one that is no byte-pair encoding.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise InputError(
            "A .gguf file holds a tokenizer too, and there is none in a form that can be written "
            "(tokenizer.json): give tokenizer=, or put tokenizer.json beside the model."
        )
    said = json.loads(backend.to_str())
    model = said["model"]
    if model["type"] != "BPE":
        raise InputError(
            f"The tokenizer is of the kind {model['type']}; byte pairs (BPE) are expected for "
            "GGUF: use `export merged`, and llama.cpp's own converter on that folder."
        )
    pieces = bool(model.get("byte_fallback"))  # sentencepiece's; otherwise pairs of bytes
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    _write_tokens(writer, tokenizer, said, vocabulary, merges if pieces else None)
    notes = []
    if not merges:
        notes.append("llama.cpp reads no tokenizer without merges, and this one has none")
    if pieces:
        writer.add_tokenizer_model("llama")
        writer.add_add_space_prefix(_adds_space(said))
    else:
        writer.add_tokenizer_model("gpt2")
        name = _split_name(said.get("pre_tokenizer") or {})
        writer.add_tokenizer_pre(name or "default")
        if name is None:
            notes.append(
                "llama.cpp has no name here for the way this tokenizer cuts text into words, and "
                "may cut some texts otherwise"
            )
    if merges:
        writer.add_token_merges(merges)
    for role in _SPECIAL:
        token = getattr(tokenizer, f"{role}_token_id", None)
        if token is not None:
            getattr(writer, f"add_{role}_token_id")(token)
    ids = tokenizer("a")["input_ids"]
    writer.add_add_bos_token(bool(ids) and ids[0] == tokenizer.bos_token_id)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)
    return notes


def _write_tokens(
    writer: gguf.GGUFWriter,
    tokenizer: Any,
    said: dict[str, Any],
    vocabulary: int,
    merges: list[str] | None,
) -> None:
    """Every id's text and kind; with `merges` its score too: the earlier merged, the higher."""
    by_id = {number: text for text, number in tokenizer.get_vocab().items()}
    added = {entry["id"]: entry for entry in said["added_tokens"]}
    rank: dict[str, int] = {}
    for place, merge in enumerate(merges or ()):
        rank.setdefault(merge.replace(" ", "", 1), place)
    texts, kinds, scores = [], [], []
    for number in range(vocabulary):
        text = by_id.get(number)
        if text is None:
            text, kind = f"[PAD{number}]", TokenType.UNUSED
        elif number in added:
            kind = TokenType.CONTROL if added[number]["special"] else TokenType.USER_DEFINED
        elif merges is not None and text.startswith("<0x") and len(text) == 6:
            kind = TokenType.BYTE
        else:
            kind = TokenType.NORMAL
        if merges is not None and number == tokenizer.unk_token_id:
            kind = TokenType.UNKNOWN
        texts.append(text)
        kinds.append(kind)
        scores.append(-float(rank.get(text, len(rank))))
    writer.add_token_list(texts)
    writer.add_token_types(kinds)
    if merges is not None or not said["model"]["merges"]:  # one of the two has to be there
        writer.add_token_scores(scores)


def _split_name(pre: dict[str, Any]) -> str | None:
    parts = pre.get("pretokenizers", [pre] if pre else [])
    kinds = [part.get("type") for part in parts]
    for part in parts:
        if part.get("type") == "Split":
            return _SPLITS.get(part["pattern"].get("Regex", ""))
    if kinds == ["Digits", "ByteLevel"] and parts[0]["individual_digits"]:
        return "smollm"
    if kinds == ["ByteLevel"] and parts[0].get("use_regex", True):
        return "gpt-2"
    return None


def _adds_space(said: dict[str, Any]) -> bool:
    """Whether a space is put before the text."""
    normalizer, pre = said.get("normalizer") or {}, said.get("pre_tokenizer") or {}
    steps = [normalizer, *normalizer.get("normalizers", ())]
    if any(step.get("type") == "Prepend" for step in steps):
        return True
    return pre.get("type") == "Metaspace" and pre.get("prepend_scheme") != "never"
