"""The same question from Python, from the command line and over HTTP, for the controls at hand.

Text only; the prompt and the names of experts are quoted for the language they are pasted into.
"""

import json
import shlex
from collections.abc import Mapping

from t2ui.config import DEFAULT_MODEL
from t2ui.ui.shared.controls import Controls
from t2ui.ui.shared.mixture import normalised


def snippets(
    controls: Controls, model: str, files: Mapping[str, str], url: str = "http://localhost:7860"
) -> dict[str, str]:
    """Code by the name of its tab; `files` are the experts' paths by name."""
    return {
        "Python": python(controls, model, files),
        "Command line": command_line(controls, model),
        "HTTP": http(controls, url),
    }


def weights_of(controls: Controls) -> dict[str, float]:
    """The weights the sliders answer with."""
    return normalised(controls.mixture) if controls.normalise else dict(controls.mixture)


def left_out(controls: Controls) -> str:
    """A comment that names what command line and HTTP have no option for; empty for nothing."""
    sampling = controls.sampling
    missing = []
    if controls.dispatch != "none":
        missing += [f"routing {controls.routing}"] if controls.routing != "hard" else []
        missing += [f"threshold {controls.threshold:g}"] if controls.threshold else []
    if sampling.temperature and sampling.top_p != 1:
        missing.append(f"top-p {sampling.top_p:g}")
    return f"# only from Python and here: {', '.join(missing)}\n" if missing else ""


def command_line(controls: Controls, model: str) -> str:
    """A `python -m t2ui ask` command, with a comment for what it has no option for."""
    sampling = controls.sampling
    parts = ["python -m t2ui ask", shlex.quote(controls.prompt)]
    if controls.dispatch == "none":
        mix = ",".join(f"{name}={value:g}" for name, value in weights_of(controls).items())
        parts += [f"--mix {shlex.quote(mix)}"] if mix else []
    parts.append(f"--dispatch {controls.dispatch}")
    parts.append(f"--max-new-tokens {sampling.max_new_tokens}")
    if sampling.temperature:
        parts.append(f"--temperature {sampling.temperature:g} --seed {sampling.seed}")
    if model != DEFAULT_MODEL:
        parts.append(f"--model {shlex.quote(model)}")
    return left_out(controls) + " \\\n  ".join(parts)


def http(controls: Controls, url: str) -> str:
    """Two curl calls: Gradio's API answers a question with an id, and the id with the events.

    With a comment for what the API has no argument for.
    """
    manual = controls.dispatch == "none"
    sampling = controls.sampling
    arguments = [
        controls.prompt,
        weights_of(controls) if manual else {},
        controls.dispatch,
        sampling.max_new_tokens,
        sampling.seed,
        sampling.temperature,
    ]
    body = json.dumps({"data": arguments}, ensure_ascii=False)
    return left_out(controls) + (
        f"URL={url}/gradio_api/call/ask\n"
        "ID=$(curl -s $URL -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(body)} \\\n"
        "  | sed 's/.*: *\"//; s/\".*//')\n"
        "curl -sN $URL/$ID"
    )


def python(controls: Controls, model: str, files: Mapping[str, str]) -> str:
    """A script against the library's public names."""
    sampling = controls.sampling
    manual = controls.dispatch == "none"
    weights = weights_of(controls)
    used = [name for name in files if not manual or name in weights]
    loads = "".join(f"    {name!r}: load_svf({files[name]!r}),\n" for name in used)
    arguments = [f"max_new_tokens={sampling.max_new_tokens}"]
    if sampling.temperature:
        arguments.append(f"temperature={sampling.temperature:g}")
        arguments.append(f"top_p={sampling.top_p:g}")
        arguments.append(f"seed={sampling.seed}")
    if manual:
        choice = f"mixture=Mixture({weights!r})"
    else:
        choice = f"dispatch={controls.dispatch!r}, routing={controls.routing!r}"
        choice += f", threshold={controls.threshold:g}" if controls.threshold else ""
    return "\n".join(
        [
            f"from t2ui import {'Mixture, ' if manual else ''}load_model, load_svf, two_pass_infer",
            "from t2ui.config import Sampling",
            "",
            f"model, tokenizer = load_model({model!r})",
            f"experts = {{\n{loads}}}" if loads else "experts = {}",
            f"prompt = {controls.prompt!r}",
            "result = two_pass_infer(",
            "    model, tokenizer, prompt, experts,",
            f"    {choice},",
            f"    sampling=Sampling({', '.join(arguments)}),",
            ")",
            "print(result)",
        ]
    )
