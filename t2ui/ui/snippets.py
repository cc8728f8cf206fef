"""The same question from Python, from the command line and over HTTP, for the controls at hand.

Text only; the prompt and the names of experts are quoted for the language they are pasted into.
"""

import json
import shlex
from collections.abc import Mapping

from t2ui.config import DEFAULT_MODEL
from t2ui.ui.controls import Controls


def snippets(
    controls: Controls, model: str, files: Mapping[str, str], url: str = "http://localhost:7860"
) -> dict[str, str]:
    """Code by the name of its tab; `files` are the experts' paths by name."""
    return {
        "Python": python(controls, model, files),
        "Command line": command_line(controls, model),
        "HTTP": http(controls, url),
    }


def command_line(controls: Controls, model: str) -> str:
    """A `python -m t2ui ask` command."""
    parts = ["python -m t2ui ask", shlex.quote(controls.prompt)]
    if controls.dispatch == "none":
        if controls.mixture:
            mix = ",".join(f"{name}={value:g}" for name, value in controls.mixture.items())
            parts.append(f"--mix {shlex.quote(mix)}")
        parts.append("--dispatch none")
    else:
        parts.append(f"--dispatch {controls.dispatch}")
        if controls.routing != "hard":
            parts.append(f"--routing {controls.routing}")
        if controls.threshold:
            parts.append(f"--threshold {controls.threshold:g}")
    if controls.normalise:
        parts.append("--normalise")
    sampling = controls.sampling
    parts.append(f"--max-new-tokens {sampling.max_new_tokens}")
    if sampling.temperature:
        parts.append(f"--temperature {sampling.temperature:g} --top-p {sampling.top_p:g}")
        parts.append(f"--seed {sampling.seed}")
    if model != DEFAULT_MODEL:
        parts.append(f"--model {shlex.quote(model)}")
    return " \\\n  ".join(parts)


def http(controls: Controls, url: str) -> str:
    """Two curl calls: Gradio's API answers a question with an id, and the id with the events."""
    if controls.dispatch == "none":
        arguments = [controls.prompt, controls.mixture, "none"]
    else:
        arguments = [controls.prompt, {}, controls.dispatch]
    sampling = controls.sampling
    arguments += [sampling.max_new_tokens, sampling.seed, sampling.temperature]
    body = json.dumps({"data": arguments}, ensure_ascii=False)
    return (
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
    used = [name for name in files if not manual or name in controls.mixture]
    loads = "".join(f"    {name!r}: load_svf({files[name]!r}),\n" for name in used)
    arguments = [f"max_new_tokens={sampling.max_new_tokens}"]
    if sampling.temperature:
        arguments += [
            f"temperature={sampling.temperature:g}",
            f"top_p={sampling.top_p:g}",
            f"seed={sampling.seed}",
        ]
    lines = [
        "from t2ui import Sampling, load_model, load_svf, two_pass_infer",
        "",
        f"model, tokenizer = load_model({model!r})",
        f"experts = {{\n{loads}}}" if loads else "experts = {}",
        f"prompt = {controls.prompt!r}",
        "result = two_pass_infer(",
        "    model, tokenizer, prompt, experts,",
    ]
    if manual:
        lines.append(f"    dispatch='none', mixture={controls.mixture!r},")
    else:
        lines.append(f"    dispatch={controls.dispatch!r}, routing={controls.routing!r},")
        if controls.threshold:
            lines.append(f"    threshold={controls.threshold:g},")
    if controls.normalise:
        lines.append("    normalise=True,")
    lines += [f"    sampling=Sampling({', '.join(arguments)}),", ")", "print(result)"]
    return "\n".join(lines)
