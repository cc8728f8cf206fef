"""From a request's JSON to what the worker is asked: strictly, every wrong field by its name."""

import secrets
from dataclasses import dataclass
from typing import Any

from t2ui.checks import SCOPES, Turn
from t2ui.config import ROUTINGS, AnswerSettings, Sampling
from t2ui.errors import InputError, quoted
from t2ui.http.openai import names
from t2ui.http.openai.fields import Fields, wrong
from t2ui.http.refusal import Refusal
from t2ui.messages import MOST_LOGPROBS, MOST_SAMPLES, Ask

MAX_SEED = 2**63 - 1
MOST_STOPS = 4
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True)
class Asked:
    """A request that was understood."""

    model: str  # as it was named
    named: names.Named
    ask: Ask
    chat: bool  # or a plain completion
    stream: bool
    usage: bool  # a stream ends with a chunk that says it


def chat(said: Any, most_tokens: int) -> Asked:
    """A body of /v1/chat/completions.

    Args:
        most_tokens: that one answer may have.

    Raises:
        Refusal: a field is missing, wrong or unknown.
    """
    fields = Fields(said)
    model = fields.text("model")
    before, prompt = _conversation(fields.take("messages"))
    tokens = fields.number("max_tokens", None, 1, most_tokens)
    tokens = fields.number("max_completion_tokens", tokens, 1, most_tokens)
    wanted = fields.flag("logprobs")
    top = fields.number("top_logprobs", 0, 0, MOST_LOGPROBS)
    if top and not wanted:
        raise wrong("top_logprobs", "needs logprobs to be true")
    fields.neutral("response_format", {"type": "text"})
    fields.neutral("tools", [])
    fields.neutral("tool_choice", "none", "auto")
    fields.neutral("parallel_tool_calls", True, False)
    fields.neutral("modalities", ["text"])
    fields.neutral("reasoning_effort", "none")
    more = {"before": before, "logprobs": top if wanted else None}
    return _asked(fields, model, prompt, tokens, more)


def completion(said: Any, most_tokens: int) -> Asked:
    """A body of /v1/completions: the model goes on with a text, without any chat format.

    Raises:
        Refusal: a field is missing, wrong or unknown.
    """
    fields = Fields(said)
    model = fields.text("model")
    prompt = fields.take("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        (prompt,) = prompt
    if not isinstance(prompt, str):
        raise wrong("prompt", f"is {quoted(prompt)}; expected one text")
    tokens = fields.number("max_tokens", None, 1, most_tokens)
    top = fields.number("logprobs", None, 0, MOST_LOGPROBS)
    fields.neutral("echo", False)
    fields.neutral("best_of", 1)
    fields.neutral("suffix", "")
    return _asked(fields, model, prompt, tokens, {"plain": True, "logprobs": top})


def _asked(
    fields: Fields, model: str, prompt: str, tokens: int | None, more: dict[str, Any]
) -> Asked:
    """What both kinds of request have."""
    temperature = fields.number("temperature", Sampling.temperature, 0.0, 2.0)
    # Without a seed each answer is another one, and its receipt says which seed it had.
    seed = secrets.randbelow(2**31) if temperature else Sampling.seed
    sampling = {
        "max_new_tokens": tokens or Sampling.max_new_tokens,
        "temperature": temperature,
        "top_p": fields.number("top_p", Sampling.top_p, 0.0, 1.0),
        "seed": fields.number("seed", seed, 0, MAX_SEED),
        "stop": _stops(fields.take("stop", [])),
    }
    samples = fields.number("n", 1, 1, MOST_SAMPLES)
    stream = fields.flag("stream")
    usage = _usage(fields, stream)
    for name in ("frequency_penalty", "presence_penalty"):
        fields.neutral(name, 0, 0.0)
    fields.neutral("logit_bias", {})
    fields.neutral("store", False)
    fields.neutral("service_tier", "auto", "default")
    for name in ("user", "safety_identifier"):  # who asks says the key; nothing depends on it
        fields.text(name, "")
    fields.take("metadata")
    named = names.parsed(model)
    settings = _own(Fields(fields.take("t2ui", {}), "t2ui"), named)
    fields.finish()
    try:
        # top_k is no field of the standard
        top_k = settings.pop("top_k")
        decoding = Sampling(top_k=top_k, **sampling)
        ask = Ask(
            prompt,
            sampling=decoding,
            compare=False,
            samples=samples,
            whole=not stream,
            **settings,
            **more,
        )
    except InputError as error:
        raise Refusal(400, str(error), code="invalid_value") from None
    return Asked(model, named, ask, not ask.plain, stream, usage)


def _own(fields: Fields, named: names.Named) -> dict[str, Any]:
    """The field `t2ui`: what the standard has no word for.

    Raises:
        Refusal: it does not go with the model's name, or is wrong.
    """
    mixture = fields.take("mixture")
    dispatch = fields.take("dispatch")
    routing = fields.take("routing")
    threshold = fields.number("threshold", None, 0.0, 1.0)
    if mixture is not None and not isinstance(mixture, dict):
        raise wrong("t2ui.mixture", f"is {quoted(mixture)}; expected an object like {{'math': 1}}")
    if mixture is not None and not named.base:
        raise wrong("t2ui.mixture", "goes with the model t2ui/base: it is what is added to it")
    given = {"dispatch": dispatch, "routing": routing, "threshold": threshold}
    for name, value in given.items():
        if value is not None and not named.auto:
            raise wrong(f"t2ui.{name}", "goes with the model t2ui/auto, where pass one decides")
    if routing is not None and routing not in ROUTINGS:
        raise wrong("t2ui.routing", f"is {quoted(routing)}; expected {' or '.join(ROUTINGS)}")
    scope = fields.text("scope", AnswerSettings.scope)
    if scope and scope not in SCOPES:
        raise wrong("t2ui.scope", f"is {quoted(scope)}; expected {' or '.join(SCOPES)}")
    settings: dict[str, Any] = {
        "scope": scope,
        "normalise": fields.flag("normalise"),
        "allow_transfer": fields.flag("allow_transfer"),
        "top_k": fields.number("top_k", Sampling.top_k, 0, 1_000_000),
    }
    fields.finish()
    if named.auto:
        chosen = {name: value for name, value in given.items() if value is not None}
        return settings | chosen
    if named.saved:
        return settings | {"saved": named.saved}
    return settings | {"mixture": named.mixture or mixture or {}}


def _conversation(messages: Any) -> tuple[tuple[Turn, ...], str]:
    """What was said before, and the last request.

    Raises:
        Refusal: no list of messages that ends with one of the user's.
    """
    if not isinstance(messages, list) or not messages:
        raise wrong("messages", f"is {quoted(messages)}; expected a list of messages")
    turns = [_turn(Fields(one, f"messages[{i}]")) for i, one in enumerate(messages)]
    role, prompt = turns[-1]
    if role != "user":
        raise wrong(
            f"messages[{len(turns) - 1}].role", f"is {quoted(role)}; the last is to be the user's"
        )
    return tuple(turns[:-1]), prompt


def _turn(fields: Fields) -> Turn:
    role = fields.text("role")
    if role not in ROLES:
        raise wrong(fields.path("role"), f"is {quoted(role)}; expected {', '.join(ROLES)}")
    content = fields.take("content")
    if isinstance(content, list):
        content = "".join(
            _part(Fields(part, fields.path(f"content[{i}]"))) for i, part in enumerate(content)
        )
    if not isinstance(content, str):
        raise wrong(fields.path("content"), f"is {quoted(content)}; expected text")
    fields.text("name", "")
    for name in ("refusal", "audio", "function_call"):  # what a client's own messages carry
        fields.neutral(name)
    for name in ("tool_calls", "annotations"):
        fields.neutral(name, [])
    fields.finish()
    return ROLES[role], content


def _part(fields: Fields) -> str:
    kind = fields.text("type")
    if kind != "text":
        raise wrong(fields.path("type"), f"is {quoted(kind)}; only text can be read")
    text = fields.text("text")
    fields.finish()
    return text


def _stops(stop: Any) -> tuple[str, ...]:
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or len(stops) > MOST_STOPS:
        raise wrong("stop", f"is {quoted(stop)}; expected a text, or up to {MOST_STOPS} texts")
    if any(not isinstance(one, str) or not one for one in stops):
        raise wrong("stop", f"is {quoted(stop)}; expected texts that are not empty")
    return tuple(stops)


def _usage(fields: Fields, stream: bool) -> bool:
    """Whether a stream is to end with the usage."""
    options = fields.take("stream_options")
    if options is None:
        return False
    if not stream:
        raise wrong("stream_options", "goes with stream: true")
    inner = Fields(options, "stream_options")
    wanted = inner.flag("include_usage")
    inner.neutral("include_obfuscation", False, True)
    inner.finish()
    return wanted
