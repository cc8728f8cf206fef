"""What others wrap around a model: torch.compile, peft, data parallelism. Imports none of them."""

from typing import Any

# Names that wrappers put into the names of the modules inside them.
NAMES_OF_WRAPPERS = frozenset({"_orig_mod", "_checkpoint_wrapped_module", "base_layer"})
PARALLEL = ("DataParallel", "DistributedDataParallel")


def unwrapped(model: Any) -> Any:
    """The model itself. What peft has put inside it, such as LoRA updates, stays there."""
    while True:
        if "_orig_mod" in getattr(model, "_modules", {}):  # torch.compile
            model = model._orig_mod
        elif type(model).__name__ in PARALLEL:
            model = model.module
        elif hasattr(type(model), "get_base_model"):  # peft
            model = model.get_base_model()
        else:
            return model


def input_embedding(model: Any) -> Any:
    """The module that reads token ids, or None. It is the same one in a model, in what is wrapped
    around it, and in its bare backbone."""
    get = getattr(unwrapped(model), "get_input_embeddings", None)
    try:
        return get() if callable(get) else None
    except NotImplementedError:  # transformers' models that read no tokens
        return None


def name_inside(name: str) -> str:
    """A module's full name without what wrappers put into it."""
    return ".".join(part for part in name.split(".") if part not in NAMES_OF_WRAPPERS)
