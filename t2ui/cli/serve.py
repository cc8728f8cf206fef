"""`python -m t2ui serve`: the app, its API and the model worker, on one port."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from t2ui.cli.options import AsJson, Device, Folder, Model, existing, note, print_json
from t2ui.config import DEFAULT_MODEL, default_experts_dir
from t2ui.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from t2ui.messages import Experts, Status
    from t2ui.workshop.live import Workshop

READY_SECONDS = 900.0  # a first start fetches the model


def serve(
    model: Model = DEFAULT_MODEL,
    experts: Folder = None,
    device: Device = "auto",
    host: Annotated[
        str, typer.Option(envvar="GRADIO_SERVER_NAME", help="0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="GRADIO_SERVER_PORT")] = 7860,
    public: Annotated[
        bool,
        typer.Option(
            "--public",
            help="For strangers: nobody writes into the experts folder, and lower limits "
            "(t2ui/http/limits.py). A Hugging Face Space is public by itself.",
        ),
    ] = False,
    keys: Annotated[
        Path | None,
        typer.Option(
            envvar="T2UI_KEYS",
            help="Let in only who has a key in this file; `t2ui keys add FILE NAME` makes one.",
            show_default=False,
        ),
    ] = None,
    workshop: Annotated[
        Path | None,
        typer.Option(
            envvar="T2UI_WORKSHOP",
            help="Seats, presets, tasks and a contest from a teacher's file: docs/workshop.md.",
            show_default=False,
        ),
    ] = None,
    open_to_all: Annotated[
        bool,
        typer.Option("--open", envvar="T2UI_OPEN", help="Listen beyond this machine without keys."),
    ] = False,
    json_log: Annotated[
        bool,
        typer.Option("--log-json", envvar="T2UI_LOG_JSON", help="A line of JSON for each request."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Open the app and its API; the same as `python app.py`."""
    from t2ui.http.limits import Limits, is_space

    limits = Limits.of(public or is_space())
    _check_open(host, keys is not None or limits.public or open_to_all)
    on = _workshop(workshop, keys)
    if on is not None:
        limits = limits.for_a_class()
    folder = existing(experts) if experts else default_experts_dir()
    from t2ui.config import WorkerConfig
    from t2ui.http.launch import heard_by, launch_options, run_until_asked, visitors_folder
    from t2ui.http.logs import log_json
    from t2ui.http.service import Service
    from t2ui.http.tenants import Tenants
    from t2ui.receipts import Receipts, receipts_file
    from t2ui.ui import build
    from t2ui.worker.client import connect

    tenants = Tenants(keys) if keys else None
    with ExitStack() as stack:
        kept = limits.receipt_days, limits.receipt_megabytes, limits.receipt_texts
        receipts = Receipts(receipts_file(), *kept)
        stack.callback(receipts.close)
        config = WorkerConfig(
            model=model,
            device=device,
            experts_dir=folder,
            sessions_dir=stack.enter_context(visitors_folder(limits)),
            session_hours=limits.session_hours,
            tenants_dir=tenants.folders if tenants else None,
            max_rows=limits.batch_rows,
        )
        client = stack.enter_context(connect(config))
        if on is not None:
            _check_experts(on, client.wait_ready, client.experts)
        said = {"url": f"http://{host}:{port}", "model": model, "public": limits.public}
        if as_json:
            print_json(said | ({"board": _board(on, host, port)} if on else {}))
        service = Service(client, limits, tenants, receipts, on)
        demo = build(service.client, limits.public, on.plan if on else None)
        stack.enter_context(heard_by(service.drain))
        try:
            demo.launch(
                server_name=host,
                server_port=port,
                quiet=as_json or json_log,
                prevent_thread_lock=True,
                **launch_options(service),
            )
        except (OSError, OverflowError) as error:  # taken, not allowed, or no port number
            raise InputError(
                f"Cannot listen on {host}:{port} ({error}): choose another --port."
            ) from None
        if json_log:
            log_json()
        elif not as_json:
            _tell(host, port, keys)
        if on is not None and not as_json:
            note(f"* The teacher's board, for nobody else: {_board(on, host, port)}")
        run_until_asked(service, demo)


def _check_open(host: str, allowed: bool) -> None:
    """Without keys only this machine is let in, unless somebody says otherwise.

    Raises:
        InputError: nobody does.
    """
    if not allowed and not _is_loopback(host):
        raise InputError(
            f"Without keys everybody who reaches {host} may use the server: give --keys FILE "
            "(`t2ui keys add FILE NAME` makes one), or --open to allow it (--public has lower "
            "limits, for strangers)."
        )


def _workshop(file: Path | None, keys: Path | None) -> "Workshop | None":
    """The workshop of a teacher's file.

    Raises:
        InputError: the file cannot be used, or keys are given too.
    """
    if file is None:
        return None
    if keys is not None:
        raise InputError("A workshop has seats in place of keys: leave --workshop or --keys out.")
    from t2ui.workshop.file import read_plan
    from t2ui.workshop.live import Workshop

    return Workshop(read_plan(file))


def _check_experts(
    on: "Workshop", ready: "Callable[[float], Status]", listed: "Callable[[], Experts | None]"
) -> None:
    """Whether the worker has the experts that the file names: it has to be up for that.

    Raises:
        InputError: it has not, or it could not be started.
    """
    if not on.plan.presets:
        return
    note("The model is loading: the workshop's file is checked against its experts.")
    status, found = ready(READY_SECONDS), listed()
    if found is None:
        raise InputError(f"The model is {status.state}: {status.detail or 'no experts yet'}.")
    on.plan.check_experts(one.name for one in found.experts)


def _board(on: "Workshop", host: str, port: int) -> str:
    """The link that opens the board."""
    return f"http://{_shown(host)}:{port}/workshop/teacher?key={on.secret}"


def _shown(host: str) -> str:
    return "127.0.0.1" if host == "0.0.0.0" else host


def _is_loopback(host: str) -> bool:
    from t2ui.http.addresses import is_own

    return not host or is_own(host)


def _tell(host: str, port: int, keys: Path | None) -> None:
    """Where the API is, and who may use it."""
    from t2ui.http.mcp.protocol import available
    from t2ui.http.mcp.server import PATH

    who = f"whoever has a key in {keys}"
    if keys is None:
        who = "this machine alone" if _is_loopback(host) else "everybody who reaches it"
    shown = _shown(host)
    tools = f", tools for agents (MCP) at http://{shown}:{port}{PATH}" if available() else ""
    note(f"* OpenAI-compatible API at http://{shown}:{port}/v1{tools}; open to {who}")
