"""Expert files on the Hugging Face Hub: which there are in a repository, and fetching one.

Knows file names, no tensors; what a file holds is checked by whoever reads it.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from t2ui.errors import InputError, quoted

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SUFFIXES = (".safetensors", ".svf")  # of expert files


def hub(token: str | None = None) -> "HfApi":
    """The hub, or what stands in for it at `HF_ENDPOINT`."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token, library_name="t2ui")


def expert_names(repo: str, revision: str | None = None, token: str | None = None) -> list[str]:
    """Paths in a repository that may be experts' files, sorted.

    Raises:
        InputError: there is no such repository, or the hub cannot be asked.
    """
    with hub_errors(repo):
        files = hub(token).list_repo_files(repo, revision=revision)
    return sorted(file for file in files if file.endswith(SUFFIXES))


def fetch(repo: str, name: str = "", revision: str | None = None, token: str | None = None) -> Path:
    """One expert's file, downloaded into the hub's cache.

    Args:
        name: of the file, with or without its suffix; may be left out where there is just one.

    Raises:
        InputError: no such repository or file, several and no name, or a download that fails.
    """
    wanted = the_one(expert_names(repo, revision, token), name, f"{repo} on the hub")
    with hub_errors(repo, wanted):
        return Path(hub(token).hf_hub_download(repo, wanted, revision=revision))


def the_one(files: Sequence[str], name: str, where: str, kind: str = "expert files") -> str:
    """The file of this name among some, with or without its suffix; without a name the only one.

    Args:
        where, kind: where they are and what, as the message says it.

    Raises:
        InputError: there is no such file, or several and no name.
    """
    wanted = [f for f in files if name in ("", f, PurePosixPath(f).name, PurePosixPath(f).stem)]
    if len(wanted) != 1:
        problem = f"holds no expert {quoted(name)}" if name else f"holds {len(files)} {kind}"
        listed = ", ".join(files[:12]) + (" …" if len(files) > 12 else "")
        raise InputError(f"{where} {problem}; there are: {listed or 'none'}. Name one of them.")
    return wanted[0]


@contextmanager
def hub_errors(repo: str, file: str = "") -> Iterator[None]:
    """What the hub and the network raise inside the block becomes one line."""
    from httpx import HTTPError
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    what = f"{repo}/{file}" if file else repo
    try:
        yield
    except HFValidationError:
        raise InputError(
            f"{quoted(repo)} is no name of a repository on the hub: expected owner/name."
        ) from None
    except HfHubHTTPError as error:
        raise InputError(_refusal(what, error)) from error
    except (HTTPError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(_unreachable(what, error)) from error


def _refusal(what: str, error: Exception) -> str:
    names = {kind.__name__ for kind in type(error).__mro__}
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if "GatedRepoError" in names:
        return f"{what} is gated on the hub: ask for access there and log in with `hf auth login`."
    # A missing repository is answered with 401, so that nobody learns which private ones there are.
    if "RepositoryNotFoundError" in names or status == 404:
        return (
            f"There is no {what} on the hub, or it is private: check the spelling, and log in with "
            "`hf auth login`."
        )
    if status in (401, 403):
        said = "does not know you" if status == 401 else "does not let you"
        return (
            f"The hub {said} ({status}) for {what}: log in with `hf auth login` (or set HF_TOKEN) "
            "with a token that may write there."
        )
    reason = " ".join((getattr(error, "server_message", None) or str(error)).split())[:200]
    return f"The hub refused {what} ({status}: {reason}): try again, or check its status page."


def _unreachable(what: str, error: Exception) -> str:
    text = " ".join(str(error).split())
    if "Consistency check failed" in text:
        return f"{what} came only in part ({text[:120]}): try again."
    reason = f"{type(error).__name__}: {text[:160]}"
    return (
        f"{what} on the hub cannot be reached ({reason}): check the network, and HF_ENDPOINT and "
        "HF_HUB_OFFLINE where they are set."
    )
