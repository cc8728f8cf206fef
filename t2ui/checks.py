"""What people give, checked: texts, coefficients, conversations. Knows no torch and no gradio."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from t2ui.errors import InputError, quoted

MAX_PROMPT_CHARS = 20_000
ALPHA_LIMIT = 10.0  # beyond this a mixture is a typing error, not an experiment
MOST_MIXTURES = 9  # that one prompt is answered with side by side
ROLES = ("system", "user", "assistant")  # who says a turn of a conversation
MOST_TURNS = 200
MAX_CONVERSATION_CHARS = 200_000
SCOPES = ("all", "answer")  # which tokens z acts on: every one (paper), or the answer's


def check_text(what: str, text: str) -> str:
    """Return a text that can be written down: JSON and some terminals let half characters in.

    Args:
        what: where it stands, "the prompt" say.

    Raises:
        InputError: half of a surrogate pair (U+D800 to U+DFFF), which is no character.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"Half a character (U+{ord(text[error.start]):04X}) in {what}, at position "
            f"{error.start + 1}: remove it, or type the character again."
        ) from None
    return text


def check_texts(what: str, value: Any) -> None:
    """`check_text` for everything that a JSON value holds."""
    check_text(what, json.dumps(value, ensure_ascii=False, default=str))


def check_prompt(prompt: str) -> str:
    """Return the prompt if it can be answered.

    Raises:
        InputError: no text, empty, longer than MAX_PROMPT_CHARS characters, or with half a
            character.
    """
    if prompt is not None and not isinstance(prompt, str):
        raise InputError(f"The prompt is {quoted(prompt)}; expected text.")
    if not prompt or not prompt.strip():
        raise InputError("The prompt is empty: type a question or an instruction.")
    if len(prompt) > MAX_PROMPT_CHARS:
        raise InputError(
            f"The prompt has {len(prompt):,} characters; at most {MAX_PROMPT_CHARS:,} are "
            "accepted: shorten it."
        )
    return check_text("the prompt", prompt)


def check_alpha(name: str, value: float | str) -> float:
    """Return one coefficient α as a float.

    Args:
        name: of its expert, for the message.
        value: a number, or one as typed.

    Raises:
        InputError: not a number, not finite, or larger than ALPHA_LIMIT in magnitude.
    """
    try:
        number = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        number = math.inf
    except (TypeError, ValueError):
        raise InputError(
            f"The coefficient of {quoted(name)} is {quoted(value)}; a number is expected."
        ) from None
    if not math.isfinite(number) or abs(number) > ALPHA_LIMIT:
        raise InputError(
            f"The coefficient of {quoted(name)} is {number}; expected a finite number between "
            f"{-ALPHA_LIMIT:g} and {ALPHA_LIMIT:g}."
        )
    return number


Turn = tuple[str, str]  # (one of ROLES, what was said)


def check_turns(turns: Any) -> tuple[Turn, ...]:
    """Return the turns of a conversation that come before its last request.

    Raises:
        InputError: no pairs of a role and a text, too many or too long, or with half a character.
    """
    try:
        checked = tuple((role, text) for role, text in turns)
    except (TypeError, ValueError):
        raise InputError(
            f"The conversation is {quoted(turns)}; expected pairs of a role and a text."
        ) from None
    for number, (role, text) in enumerate(checked, start=1):
        if role not in ROLES:
            raise InputError(
                f"Message {number} has the role {quoted(role)}; expected {', '.join(ROLES)}."
            )
        if not isinstance(text, str):
            raise InputError(f"Message {number} holds {quoted(text)}; expected text.")
        check_text(f"message {number}", text)
    characters = sum(len(text) for _, text in checked)
    if len(checked) > MOST_TURNS or characters > MAX_CONVERSATION_CHARS:
        raise InputError(
            f"The conversation has {len(checked)} messages with {characters:,} characters before "
            f"its last; at most {MOST_TURNS} with {MAX_CONVERSATION_CHARS:,} are accepted: leave "
            "out the oldest."
        )
    return checked


Alpha = float | tuple[float, ...]  # one coefficient for the whole model, or one per layer


def coefficients(text: str, separator: str, what: str) -> dict[str, float]:
    """ "math=0.7,code=0.3" as {"math": 0.7, "code": 0.3}; empty text is no mixture.

    Args:
        separator: between two experts, "," or "+".
        what: the text was typed for, as the message names it.

    Raises:
        InputError: a part that is not name=number, or a number that is out of range.
    """
    alphas = {}
    for part in filter(None, (p.strip() for p in text.split(separator))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise InputError(
                f"{what} has {part!r}; expected name=coefficient, e.g. math=0.7{separator}code=0.3."
            )
        alphas[name.strip()] = check_alpha(name.strip(), value)
    return alphas


def check_count(mixtures: Sequence[object]) -> None:
    """Refuse a comparison of no mixtures, or of more than fit beside each other.

    Raises:
        InputError: as it says.
    """
    if not 1 <= len(mixtures) <= MOST_MIXTURES:
        raise InputError(
            f"There are {len(mixtures)} mixtures to compare; expected 1 to {MOST_MIXTURES}."
        )


def check_mixture(mixture: Mapping[str, Any]) -> dict[str, Alpha]:
    """Return a mixture's coefficients by expert name, as floats or tuples of floats.

    Args:
        mixture: as it came from a file or a request.

    Raises:
        InputError: what `check_alpha` raises, or per-layer coefficients of different lengths.
    """
    checked: dict[str, Alpha] = {}
    for name, alpha in mixture.items():
        check_text("an expert's name in a mixture", name)
        if isinstance(alpha, Sequence) and not isinstance(alpha, str):
            checked[name] = tuple(check_alpha(name, a) for a in alpha)
        else:
            checked[name] = check_alpha(name, alpha)
    lengths = {len(a) for a in checked.values() if isinstance(a, tuple)}
    if len(lengths) > 1:
        raise InputError(
            f"Per-layer coefficients of different lengths {sorted(lengths)}; expected one per "
            "layer of the model for each expert."
        )
    return checked


def check_range(what: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside of the bounds, which are allowed."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{what} is {quoted(value)}; a number is expected.")
    if not low <= value <= high:  # a NaN is not; a whole number may be too large for a float
        raise InputError(f"{what} is {quoted(value)}; expected between {low:g} and {high:g}.")


def check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse what is none of the choices."""
    if value not in choices:
        raise InputError(f"{what} is {quoted(value)}; expected {', '.join(choices)}.")


def check_scope(scope: str) -> str:
    """Return the scope.

    Raises:
        InputError: it is none of SCOPES.
    """
    if scope not in SCOPES:
        raise InputError(
            f"scope is {quoted(scope)}; expected all (the expert acts on every token, as in the "
            "paper) or answer (from the end of the prompt on)."
        )
    return scope
