"""The same question from Python, from the command line and over HTTP, for the controls at hand.

Text only; the prompt and the names of experts are quoted for the language they are pasted into.
Each says everything that the page can: run as it stands, it prints the same answer.
"""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from t2ui.catalogue import NO_DISPATCH
from t2ui.config import DEFAULT_MODEL, Sampling
from t2ui.ui.shared.controls import SAMPLING, Controls


def snippets(
    controls: Controls, model: str, files: Mapping[str, str], url: str = "http://localhost:7860"
) -> dict[str, str]:
    """Code by the name of its tab; `files` are the experts' paths by name."""
    return {
        "Python": python(controls, model, files),
        "Command line": command_line(controls, model),
        "HTTP": http(controls, url),
    }


def settings_of(controls: Controls) -> dict[str, Any]:
    """What is set of the answer, by the names that Python and HTTP have for it, but for sampling;
    what has no say in this answer is left out."""
    default, manual = Controls(), controls.dispatch == NO_DISPATCH
    said: dict[str, Any] = {}
    if manual and controls.mixture:
        said["mixture"] = dict(controls.mixture)
    elif controls.dispatch:
        said["dispatch"] = controls.dispatch
    for name in (*(() if manual else ("routing", "threshold")), "normalise", "allow_transfer"):
        if getattr(controls, name) != getattr(default, name):
            said[name] = getattr(controls, name)
    return said


def sampling_of(controls: Controls) -> dict[str, Any]:
    """The decoding settings: the length, and what differs from the default."""
    said: dict[str, Any] = {"max_new_tokens": controls.sampling.max_new_tokens}
    for name in SAMPLING:
        if getattr(controls.sampling, name) != getattr(Sampling, name):
            said[name] = getattr(controls.sampling, name)
    return said


def command_line(controls: Controls, model: str) -> str:
    """A `python -m t2ui ask` command."""
    said = settings_of(controls)
    parts = ["python -m t2ui ask", shlex.quote(controls.prompt)]
    if mixture := said.pop("mixture", {}):
        mix = ",".join(f"{name}={value:.10g}" for name, value in mixture.items())
        parts.append(f"--mix {shlex.quote(mix)}")
    for name, value in {**said, **sampling_of(controls)}.items():
        option = f"--{name.replace('_', '-')}"
        parts.append(option if value is True else f"{option} {value}")
    if model != DEFAULT_MODEL:
        parts.append(f"--model {shlex.quote(model)}")
    return " \\\n  ".join(parts)


# The events hold the answer at every moment; the last one's is whole, or says what went wrong.
# Where there are none, the first call was refused, and its reply says why.
LAST_EVENT = """import json, sys
data = [line[6:] for line in sys.stdin if line.startswith("data: ")]
last = json.loads(data[-1] if data else sys.argv[1])
print(last[0]["adapted"]) if isinstance(last, list) else sys.exit(last.get("error") or str(last))"""


def http(controls: Controls, url: str) -> str:
    """Two curl calls, for a POSIX shell: Gradio's API answers a question with an id, and the id
    with the events, of which the end of the last is printed."""
    arguments = {
        "prompt": controls.prompt,
        **settings_of(controls),
        **sampling_of(controls),
    }
    body = json.dumps(arguments, ensure_ascii=False)
    return (
        f"URL={url}/gradio_api/call/v2/ask\n"
        "REPLY=$(curl -sS $URL -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(body)}) &&\n"
        'ID=$(echo "$REPLY" | sed -n \'s/.*"event_id": *"\\([^"]*\\).*/\\1/p\') &&\n'
        f'curl -sN $URL/$ID | python3 -c {shlex.quote(LAST_EVENT)} "$REPLY"'
    )


def python(controls: Controls, model: str, files: Mapping[str, str]) -> str:
    """A script against the library's public names."""
    said = settings_of(controls)
    mixture = said.pop("mixture", None)
    manual = controls.dispatch == NO_DISPATCH
    # as a folder is read: pass one by prompt lists the labels in the experts' order
    names = sorted(files, key=lambda name: files[name])
    used = [name for name in names if not manual or name in (mixture or {})]
    loads = "".join(f"    {name!r}: load_svf({files[name]!r}),\n" for name in used)
    arguments = [] if mixture is None else [f"mixture=Mixture({mixture!r})"]
    arguments += [f"{name}={value!r}" for name, value in said.items()]
    sampling = ", ".join(f"{name}={value!r}" for name, value in sampling_of(controls).items())
    return "\n".join(
        [
            f"from t2ui import {'Mixture, ' if mixture else ''}Sampling, load_model, load_svf, "
            "two_pass_infer",
            "",
            f"model, tokenizer = load_model({model!r})",
            f"experts = {{\n{loads}}}" if loads else "experts = {}",
            f"prompt = {controls.prompt!r}",
            "result = two_pass_infer(",
            "    model, tokenizer, prompt, experts,",
            *(f"    {argument}," for argument in arguments),
            f"    sampling=Sampling({sampling}),",
            ")",
            "print(result)",
        ]
    )
