"""Where `train --track` shows its events, beside its own log: TensorBoard or trackio."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2ui.errors import InputError, quoted

if TYPE_CHECKING:
    from t2ui.training.trainer import TrainEvent

Tracker = Callable[["TrainEvent"], None]


def tracker(name: str, folder: Path) -> Tracker:
    """What takes each event of a training; writes into the run's folder.

    Args:
        name: "tensorboard" or "trackio".

    Raises:
        InputError: another name, or a package that is not installed.
    """
    made = _TRACKERS.get(name)
    if made is None:
        raise InputError(f"There is no tracker {quoted(name)}; there are: {', '.join(_TRACKERS)}.")
    try:
        return made(folder)
    except ImportError:
        raise InputError(
            f"--track {name} needs the package {name}, which is not installed: pip install {name}."
        ) from None


def _tensorboard(folder: Path) -> Tracker:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"))

    def take(event: "TrainEvent") -> None:
        for key, value in _numbers(event.values).items():
            writer.add_scalar(f"{event.kind}/{key}", value, event.step)
        writer.flush()

    return take


def _trackio(folder: Path) -> Tracker:
    import trackio

    trackio.init(project="t2ui", name=folder.name)

    def take(event: "TrainEvent") -> None:
        said = {f"{event.kind}/{key}": v for key, v in _numbers(event.values).items()}
        trackio.log(said, step=event.step)
        if event.kind == "end":
            trackio.finish()

    return take


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in values.items()
        if isinstance(value, (int, float)) and math.isfinite(value)
    }


_TRACKERS: Mapping[str, Callable[[Path], Tracker]] = {
    "tensorboard": _tensorboard,
    "trackio": _trackio,
}
