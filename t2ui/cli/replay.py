"""`python -m t2ui replay …`: an answer again, token for token, from its receipt."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from t2ui.cli.options import (
    AsJson,
    Device,
    Folder,
    library_of,
    note,
    print_json,
    progress,
    report_problems,
)
from t2ui.errors import InputError


def replay(
    receipt: Annotated[
        str, typer.Argument(help="An answer's id, as the API gives it, or a receipt's file.")
    ],
    prompt: Annotated[
        str,
        typer.Option(help="What was asked, where the server keeps no texts.", show_default=False),
    ] = "",
    request: Annotated[
        Path | None,
        typer.Option(help="The same, as the JSON that was posted.", show_default=False),
    ] = None,
    sample: Annotated[int, typer.Option(help="Which of several answers, from 0.")] = 0,
    model: Annotated[
        str,
        typer.Option(help="The model, where the receipt's name does not lead to it."),
    ] = "",
    experts: Folder = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Answer again as a receipt says; exit status 1 where other tokens come out."""
    said = {**_receipt(receipt), **_texts(prompt, request)}
    _check_asked(said)
    from t2ui.inference import two_pass
    from t2ui.models.loading import load_model
    from t2ui.svf.adapter import adapt

    loaded, tokenizer = load_model(model or said["model"], device, said["dtype"], progress=progress)
    library = library_of(loaded, experts)
    with adapt(loaded, modules=said.get("modules", "all"), progress=progress) as adapter:
        library = library.fitting(adapter)
        report_problems(library)
        result = two_pass.replay(loaded, tokenizer, said, library.experts, sample)
    ids = [token for token in result.token_ids if token not in _ends(loaded, tokenizer)]
    same = _same(said, sample, ids)
    if as_json:
        print_json({"text": result.text, "tokens": ids, "same": same})
    else:
        words = {True: "the same tokens", False: "OTHER TOKENS", None: "its tokens were not kept"}
        if result.difference:
            note(str(result.difference))
        note(f"replayed with {', '.join(said['experts']) or 'the base model'}: {words[same]}")
        print(result.text)
    if same is False:
        raise typer.Exit(1)


def _receipt(named: str) -> dict[str, Any]:
    """The receipt in a file, or of an answer that this machine's server gave."""
    from t2ui.receipts import Receipts, receipts_file

    if named.endswith(".json"):
        try:
            said = json.loads(Path(named).read_text(encoding="utf-8"))
            said["model"], said["dtype"], said["experts"], said["sampling"]
        except OSError as error:
            raise InputError(f"{named} cannot be read ({error.strerror}).") from None
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{named} is no receipt ({error}).") from None
        return said
    if not receipts_file().exists():
        raise InputError(f"There are no receipts: {receipts_file()} is not there.")
    receipts = Receipts(receipts_file())
    try:
        return receipts.get(named)
    finally:
        receipts.close()


def _texts(prompt: str, request: Path | None) -> dict[str, Any]:
    """What was asked, as a receipt has it; empty where nobody says."""
    if prompt:
        return {"prompt": prompt, "before": []}
    if request is None:
        return {}
    from t2ui.http.openai import requests
    from t2ui.http.refusal import Refusal

    try:
        body = json.loads(request.read_text(encoding="utf-8"))
        understand = requests.chat if "messages" in body else requests.completion
        ask = understand(body, 4096).ask
    except OSError as error:
        raise InputError(f"{request} cannot be read ({error.strerror}).") from None
    except (ValueError, TypeError, Refusal) as error:
        raise InputError(f"{request} is no request of the API ({error}).") from None
    return {"prompt": ask.prompt, "before": [list(turn) for turn in ask.before]}


def _check_asked(said: dict[str, Any]) -> None:
    """
    Raises:
        InputError: the receipt does not hold what was asked, and nobody said it; or this was not
            what was asked.
    """
    from t2ui.receipts import asked_hash

    if "prompt" not in said:
        raise InputError(
            "The server keeps no texts (T2UI_RECEIPT_TEXTS=1 keeps them): say what was asked with "
            "--prompt TEXT, or --request FILE, the JSON that was posted."
        )
    if said.get("asked") not in (None, asked_hash(said)):
        raise InputError("This is not what was asked for that answer: its hash is another.")


def _ends(model: Any, tokenizer: Any) -> list[int]:
    from t2ui.inference.decoding import end_tokens

    return end_tokens(model, tokenizer)


def _same(said: dict[str, Any], sample: int, ids: list[int]) -> bool | None:
    """Whether these are the tokens of the answer; None where their hash was not kept."""
    from t2ui.messages import tokens_hash

    kept = said.get("tokens", [])
    if sample >= len(kept):
        return None
    return kept[sample] == tokens_hash(ids)
