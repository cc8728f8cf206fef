"""Arrays in a figure's JSON as plotly sends them."""

import base64

import numpy as np


def decode(array) -> np.ndarray:
    """A typed array as plotly sends it, or a plain list."""
    if not isinstance(array, dict):
        return np.asarray(array)
    kinds = {"i1": np.int8, "f4": np.float32, "f8": np.float64, "i2": np.int16, "i4": np.int32}
    flat = np.frombuffer(base64.b64decode(array["bdata"]), kinds[array["dtype"]])
    shape = array.get("shape")
    return flat.reshape([int(n) for n in shape.split(",")]) if shape else flat
