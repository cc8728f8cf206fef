"""`python -m t2ui keys …`: who may use a server that is started with `--keys FILE`."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from t2ui.cli.options import AsJson, print_json
from t2ui.errors import InputError

keys_app = typer.Typer(no_args_is_help=True, help="Who may use a server with --keys FILE.")

File = Annotated[Path, typer.Argument(help="The file of keys; only their hashes are in it.")]
Name = Annotated[str, typer.Argument(help="Whose key it is: letters, digits, - and _.")]


@keys_app.command("add")
def keys_add(
    file: File,
    name: Name,
    operator: Annotated[bool, typer.Option(help="May read /metrics.")] = False,
    texts: Annotated[bool, typer.Option(help="Their audit log has the prompts.")] = False,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            help="A limit of their own, NAME=NUMBER: answers_per_address (at once, from the page), "
            "api_answers_per_address (at once, over the API), api_posts_per_address (a second). "
            "May be given several times."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it: it is shown this once. A server that runs knows it at once."""
    from t2ui.http.tenants import FOLDERS, checked_limits, new_tenant, read_keys, write_keys

    known = read_keys(file) if file.exists() else []
    if any(one.name == name and not one.withdrawn for one in known):
        raise InputError(f"{name} has a key already: withdraw it first, or choose another name.")
    limits = checked_limits(dict(_limit(one) for one in limit or ()))
    tenant, key = new_tenant(name, operator=operator, texts=texts, limits=limits)
    write_keys(file, [*known, tenant])
    folder = file.resolve().parent / FOLDERS / name
    folder.mkdir(parents=True, exist_ok=True)
    if as_json:
        print_json({"name": name, "key": key, "folder": str(folder)})
        return
    print(f"{key}\ntheir experts and mixtures: {folder}")


@keys_app.command("list")
def keys_list(file: File, as_json: AsJson = False) -> None:
    """The names that have keys, and since when."""
    from t2ui.http.tenants import read_keys

    known = read_keys(file)
    if as_json:
        print_json([asdict(one) | {"limits": dict(one.limits)} for one in known])
        return
    for one in known:
        state = f"withdrawn {one.withdrawn}" if one.withdrawn else "open"
        print(f"{one.name:40} since {one.created}  {state}")


@keys_app.command("withdraw")
def keys_withdraw(file: File, name: Name, as_json: AsJson = False) -> None:
    """End a key. A server that runs refuses it from then on; its folder stays."""
    from t2ui.http.tenants import now, read_keys, write_keys

    known = read_keys(file)
    if not any(one.name == name and not one.withdrawn for one in known):
        names = ", ".join(one.name for one in known if not one.withdrawn) or "none"
        raise InputError(f"There is no key of {name!r}; there are: {names}.")
    at = now()
    kept = [one for one in known if one.name != name]
    ended = [replace(one, withdrawn=one.withdrawn or at) for one in known if one.name == name]
    write_keys(file, [*kept, *ended])
    print_json({"name": name, "withdrawn": at}) if as_json else print(f"withdrawn: {name}")


def _limit(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        raise InputError(f"--limit is {text!r}; expected NAME=NUMBER.") from None
