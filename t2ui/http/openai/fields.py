"""The fields of a request, taken one by one: a wrong one is named, and so is one nobody takes."""

from typing import Any

from t2ui.errors import quoted
from t2ui.http.refusal import Refusal


class Fields:
    """A JSON object that is read strictly. A field that is null counts as left out."""

    def __init__(self, said: Any, inside: str = "") -> None:
        """
        Args:
            inside: where the object stands, "messages[0]" say, for the messages.

        Raises:
            Refusal: it is no object.
        """
        self._inside = inside
        if not isinstance(said, dict):
            raise wrong(inside or None, f"is {quoted(said)}; expected a JSON object")
        self._left = dict(said)

    def path(self, name: str) -> str:
        """The field's name as messages have it."""
        return f"{self._inside}.{name}" if self._inside else name

    def take(self, name: str, default: Any = None) -> Any:
        """A field as it is."""
        value = self._left.pop(name, None)
        return default if value is None else value

    def text(self, name: str, default: str | None = None) -> str:
        """A text; without a default it is needed."""
        value = self.take(name, default)
        if value is None:
            raise wrong(self.path(name), "is missing", code="missing_required_parameter")
        if not isinstance(value, str):
            raise wrong(self.path(name), f"is {quoted(value)}; expected text")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """true or false."""
        value = self.take(name, default)
        if not isinstance(value, bool):
            raise wrong(self.path(name), f"is {quoted(value)}; expected true or false")
        return value

    def number(self, name: str, default: Any, low: float, high: float) -> Any:
        """A number; a whole one where the bounds are."""
        value = self.take(name)
        if value is None:
            return default
        whole = isinstance(low, int)
        fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not fits or not low <= value <= high:
            what = "a whole number" if whole else "a number"
            raise wrong(
                self.path(name), f"is {quoted(value)}; expected {what} from {low:g} to {high:g}"
            )
        return value

    def neutral(self, name: str, *values: Any) -> None:
        """A field of the standard that is not known here: only what changes nothing is taken."""
        value = self.take(name)
        if value is None or any(value == one and type(value) is type(one) for one in values):
            return
        if isinstance(value, int) and not isinstance(value, bool) and value in values:
            return
        said = " or ".join(quoted(one) for one in values) or "nothing"
        raise wrong(
            self.path(name),
            f"is {quoted(value)}; t2ui knows no {name}: leave it out (or {said})",
            code="unsupported_parameter",
        )

    def finish(self) -> None:
        """
        Raises:
            Refusal: there is a field that nobody has taken.
        """
        for name in self._left:
            path = self.path(str(name)[:100])
            raise Refusal(
                400, f"Unknown parameter: {quoted(path)}.", param=path, code="unknown_parameter"
            )


def wrong(param: str | None, what: str, code: str = "invalid_value") -> Refusal:
    """A field that is not as it should be."""
    return Refusal(400, f"{param or 'The request'} {what}.", param=param, code=code)
