"""A card for every expert, as the Library page shows it. Plain data; knows no gradio."""

from collections.abc import Mapping
from typing import Any

from t2ui.messages import ExpertInfo, Experts, Failed
from t2ui.ui.shared.colours import expert_colours

MOST_RECIPE = 6  # experts of a recipe that are named


def cards(found: Experts | Failed | None) -> dict[str, Any]:
    """What the page lists: `state` is waiting, failed, empty or done."""
    none = {"experts": [], "problems": [], "message": "", "remedy": ""}
    if found is None:
        return {**none, "state": "waiting", "message": "The model is loading; then its experts."}
    if isinstance(found, Failed):
        return {**none, "state": "failed", "message": found.message, "remedy": found.remedy}
    colours = expert_colours(one.name for one in found.experts)
    ordered = sorted(found.experts, key=lambda one: (one.kind != "expert", one.name))
    return {
        **none,
        "state": "done" if ordered else "empty",
        "message": "" if ordered else "No experts were found for this model.",
        "remedy": "" if ordered else "Add a file, or train one from the command line.",
        "experts": [_card(one, colours[one.name]) for one in ordered],
        "problems": [f"{file}: {why}" for file, why in found.problems],
    }


def _card(one: ExpertInfo, colour: str) -> dict[str, Any]:
    measured = [row for row in map(_measured, one.metrics) if row]
    return {
        "name": one.name,
        "colour": colour,
        "description": one.description,
        "dispatcher": one.kind == "dispatcher",
        "saved": one.saved,
        "transfer": one.base_model if one.transfer else "",
        "labels": list(one.labels),
        "facts": _facts(one),
        "made": _made(one),
        "file": one.file_name,
        "sha256": one.sha256,
        "measured": measured,
    }


def _facts(one: ExpertInfo) -> str:
    size = one.size_bytes
    weight = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(1, round(size / 1e3))} kB"
    scope = "the answer" if one.scope == "answer" else "every token"
    return (
        f"{one.parameters:,} scales in {one.matrices} matrices · {weight} · acts on {scope} · "
        f"for {one.base_model or 'an unnamed model'}"
    )


def _made(one: ExpertInfo) -> list[str]:
    """Where it comes from, a sentence part each; only what its record says."""
    record, found = one.training, []
    recipe = record.get("recipe")
    mixture = recipe.get("mixture") if isinstance(recipe, Mapping) else record.get("mixture")
    if isinstance(mixture, Mapping) and mixture:
        parts = [f"{name} {alpha}" for name, alpha in list(mixture.items())[:MOST_RECIPE]]
        more = f" and {len(mixture) - MOST_RECIPE} more" if len(mixture) > MOST_RECIPE else ""
        found.append(f"mixed of {', '.join(parts)}{more}")
    if record.get("set_by"):
        found.append(f"found by {record['set_by']}")
    if record.get("objective"):
        steps = record.get("best_step") or record.get("steps")
        found.append(
            f"trained by {record['objective']}" + (f", step {steps} kept" if steps else "")
        )
    if record.get("start"):
        found.append(f"begun from {str(record['start']).split()[0]}")
    if isinstance(record.get("data"), Mapping):
        found += [f"{what}: {where}" for what, where in record["data"].items()]
    if one.created:
        found.append(f"made {one.created[:10]}")
    if one.license:
        found.append(one.license)
    return [str(part) for part in found]


def _measured(row: Any) -> dict[str, Any] | None:
    """A measurement with its interval, shares in [0, 1]; None for a record that is none."""
    try:
        base, expert = float(row["base"]), float(row["expert"])
        low, high = map(float, row["interval"])
        n = int(row["n"])
        base_low, base_high = map(float, row.get("base_interval") or (base, base))
    except (KeyError, TypeError, ValueError):
        return None
    apart = "gain" if low > base_high else "loss" if high < base_low else "same"
    return {
        "set": f"{row.get('set', '')}{', ' + row['protocol'] if row.get('protocol') else ''}",
        "n": n,
        "base": base,
        "base_interval": [base_low, base_high],
        "expert": expert,
        "interval": [low, high],
        "apart": apart,
    }
