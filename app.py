"""Start a model worker, build the page, launch. `python app.py --help` lists the few options."""

import argparse
import os
import sys

from t2ui.client import connect
from t2ui.config import DEFAULT_MODEL, WorkerConfig, default_experts_dir
from t2ui.errors import InputError
from t2ui.ui import build, launch_options


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line. Host and port also come from GRADIO_SERVER_NAME and GRADIO_SERVER_PORT."""
    parser = argparse.ArgumentParser(description="t2ui: a studio for Transformer² experts.")
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, help="default name, hub id, local folder or .gguf file"
    )
    parser.add_argument("--experts", default=default_experts_dir(), help="folder of expert files")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
    parser.add_argument(
        "--port", type=int, default=int(os.environ.get("GRADIO_SERVER_PORT", "7860"))
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted. The page is usable at once; the model loads meanwhile."""
    chosen = options(arguments)
    try:
        config = WorkerConfig(
            model=chosen.model, experts_dir=chosen.experts, device=chosen.device
        )
    except InputError as error:
        sys.exit(f"t2ui: {error}")
    client = connect(config)
    try:
        build(client).launch(
            server_name=chosen.host, server_port=chosen.port, **launch_options()
        )
    finally:
        client.close()


if __name__ == "__main__":
    main()
