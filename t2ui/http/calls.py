"""What a post to one of Gradio's routes asks for: which function, with which values."""

from typing import Any

from gradio.block_function import BlockFunction

from t2ui.errors import quoted
from t2ui.http import routes
from t2ui.http.bodies import check_session
from t2ui.http.gradio_queue import ApiParameter, GradioQueue, api_parameters
from t2ui.http.refusal import Refusal


class Calls:
    """The functions of the page and of its API by name."""

    def __init__(self, queue: GradioQueue) -> None:
        self._queue = queue
        self._parameters = api_parameters(queue.blocks)

    def function(self, path: str, kind: str, said: dict[str, Any]) -> BlockFunction:
        """The function that a post asks for."""
        functions, index = self._queue.blocks.fns, said.get("fn_index")
        if kind == "call":
            name = path.rstrip("/").rsplit("/", 1)[-1]
            public = [fn for fn in functions.values() if fn.api_visibility == "public"]
            fn = next((fn for fn in public if fn.api_name == name), None)
            if fn is None:
                there = ", ".join(f"/{one.api_name}" for one in public)
                raise Refusal(404, f"The API has no {quoted('/' + name)}; it has {there}.")
            return fn
        fn = functions.get(index) if type(index) is int else None
        if fn is None or fn.fn is None:
            raise Refusal(404, f"There is no function {quoted(index)}: reload the page.")
        if kind == "run" and fn.queue:
            raise Refusal(404, "This function is called through the queue: post to queue/join.")
        return fn

    def values(self, fn: BlockFunction, path: str, said: dict[str, Any]) -> list[Any]:
        """What the API's function is called with: the values given, and defaults for the rest.

        They come as a list in the order of the parameters, or (v2) by name.
        """
        parameters = self._parameters[str(fn.api_name)]
        if path.startswith(f"{routes.API}/call/v2/"):
            given = {key: value for key, value in said.items() if key != "session_hash"}
        elif isinstance(data := said.get("data"), list) and len(data) <= len(parameters):
            given = {one.name: value for one, value in zip(parameters, data, strict=False)}
        else:
            got = f"{len(data)} values" if isinstance(data, list) else quoted(data)
            raise Refusal(422, f"data is {got}; expected a list of {_signature(fn, parameters)}.")
        unknown = [name for name in given if name not in [one.name for one in parameters]]
        missing = [one.name for one in parameters if not one.has_default and one.name not in given]
        if unknown or missing:
            what = f"has no {quoted(unknown[0])}" if unknown else f"lacks {', '.join(missing)}"
            raise Refusal(422, f"The call {what}; expected {_signature(fn, parameters)}.")
        return [given.get(one.name, one.default) for one in parameters]

    def server_function(self, said: dict[str, Any]) -> str:
        """The name of a panel's function in the server."""
        component, name = said.get("component_id"), said.get("fn_name")
        block = self._queue.blocks.blocks.get(component) if type(component) is int else None
        function = getattr(block, name, None) if isinstance(name, str) else None
        check_session(said.get("session_hash"))
        if not getattr(function, "_is_server_fn", False):
            raise Refusal(404, f"There is no server function {quoted(name)}: reload the page.")
        return str(name)


def check_data(fn: BlockFunction, data: Any) -> None:
    """Nothing, where a function is given as many values as it takes."""
    if not isinstance(data, list) or len(data) != len(fn.inputs):
        got = f"{len(data)} values" if isinstance(data, list) else quoted(data)
        raise Refusal(422, f"data is {got}; expected a list of {len(fn.inputs)} values.")


def check_cancel(said: dict[str, Any]) -> None:
    """Nothing, where a cancel says what of. Gradio's page leaves the event out where it was
    stopped before the page had heard of it."""
    check_session(said.get("session_hash"))
    if said.get("event_id") is not None:
        check_session(said["event_id"])
    if type(said.get("fn_index")) is not int:
        raise Refusal(422, f"fn_index is {quoted(said.get('fn_index'))}; expected a whole number.")


def _signature(fn: BlockFunction, parameters: list[ApiParameter]) -> str:
    """The parameters of a function of the API, as a person reads them."""
    said = [f"{one.name}={one.default!r}" if one.has_default else one.name for one in parameters]
    return f"/{fn.api_name}({', '.join(said)})"
