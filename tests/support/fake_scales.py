"""What the worker's double shows of scales: matrices, components, how alike experts are."""

import math

import numpy as np
import torch
from fake_answers import words

from t2ui.backend import inspection
from t2ui.errors import InputError
from t2ui.messages import ComponentData, ComponentsMeasured, Done, Failed
from t2ui.records import Ends, NamedComponent
from t2ui.svf.components import joined
from t2ui.svf.decomposition import Factors
from t2ui.svf.expert import Expert
from t2ui.svf.likeness import likeness

LAYERS = 30
SHAPES = {
    "q_proj": (576, 576),
    "k_proj": (192, 576),
    "v_proj": (192, 576),
    "o_proj": (576, 576),
    "gate_proj": (1536, 576),
    "up_proj": (1536, 576),
    "down_proj": (576, 1536),
}
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


class Scales:
    """Of the default model's shapes; they look trained."""

    @staticmethod
    def z(name, mixture):
        """A scale vector that looks trained: leading components move most."""
        rank = min(SHAPES[name.rsplit(".", 1)[-1]])
        layer = int(name.split(".")[2])
        total = np.zeros(rank, dtype=np.float32)
        for expert, a in mixture.items():
            seed = sum(map(ord, expert + name)) + 31 * layer
            draw = np.random.default_rng(seed).normal(0, 1, rank)
            envelope = 0.02 + 0.1 * np.exp(-np.arange(rank) / 60) * (0.3 + layer / LAYERS)
            total += np.float32(a) * (draw * envelope).astype(np.float32)
        return 1 + total

    def _heatmap(self, request):
        ranks, z, minus = {}, {}, {}
        for layer in range(LAYERS):
            for leaf in SHAPES:
                block = "self_attn" if leaf in ATTENTION else "mlp"
                name = f"model.layers.{layer}.{block}.{leaf}"
                z[name] = torch.from_numpy(self.z(name, request.mixture))
                minus[name] = torch.from_numpy(self.z(name, request.minus))
                ranks[name] = Factors(None, torch.ones(len(z[name])), None)
        what = request.module, minus, request.layer, request.rows
        return [(0.05, inspection.heatmap(ranks, z, *what)), (0.05, Done())]

    def _component(self, request):
        z = self.z(request.name, request.mixture)
        rank = len(z)
        index = np.arange(rank)
        sigma = (9 * np.exp(-index / 40) + 2.5 * np.exp(-index / 500)).astype("f4")
        captured = np.cumsum(sigma) / sigma.sum()
        adapted = np.cumsum(sigma * abs(z)) / (sigma * abs(z)).sum()
        top = tuple(int(i) for i in np.argsort(-abs(z - 1))[:10])
        leaf = request.name.rsplit(".", 1)[-1]
        layer = int(request.name.split(".")[2])
        event = ComponentData(
            request.name,
            layer,
            SHAPES[leaf],
            sigma,
            z.astype("f4"),
            captured.astype("f4"),
            adapted.astype("f4"),
            top,
        )
        return [(0.05, event), (0.05, Done())]

    def _components(self, request):
        """Those of a few matrices; the further z is from 1, the more the answer loses."""
        if self.failure:
            failure, self.failure = self.failure, None
            return [(0.1, failure)]
        choice, found = request.choice, []
        for leaf in ("o_proj", "up_proj", "down_proj", "q_proj"):
            block = "self_attn" if leaf in ATTENTION else "mlp"
            name = f"model.layers.{choice.layer or 3}.{block}.{leaf}"
            index = int(np.abs(self.z(name, request.mixture) - 1).argmax())
            found.append((name, index))
        tokens = ((" seven", 0.31), (" eight", 0.24), (" <b>", 0.11))
        ends = Ends(tokens, tokens[::-1], 0.2)
        parts = tuple(
            NamedComponent(
                name,
                index,
                int(name.split(".")[2]),
                3.25,
                float(self.z(name, request.mixture)[index]),
                0.0004 if name.endswith("up_proj") else 0.02,
                not name.endswith("up_proj"),
                *joined(name),
                ends if name.endswith(("up_proj", "q_proj")) else None,
                ends if name.endswith(("o_proj", "down_proj")) else None,
            )
            for name, index in choice.chosen or found
        )
        if not request.prompt:
            return [(0.1, ComponentsMeasured(parts)), (0.1, Done())]
        asked, text = words(request.prompt), request.text or "It is seven."
        said = words(text)
        count, rows = len(asked) + len(said) - 1, range(len(parts))
        activity = tuple(tuple(math.sin(i + 3 * row) for i in range(count)) for row in rows)
        changed = tuple(-5.0 - 2.0 * abs(one.z - choice.at) for one in parts)
        measured = ComponentsMeasured(
            parts,
            "all",
            (*asked, *said[:-1]),
            len(asked),
            activity,
            text,
            len(said),
            -9.0,
            -5.0,
            changed,
            choice.at,
        )
        return [(0.1, measured), (0.1, Done())]

    def _likeness(self, request):
        """Of scales that look trained, in four matrices."""
        if self.failure:
            failure, self.failure = self.failure, None
            return [(0.1, failure)]
        matrices = [f"model.layers.{layer}.mlp.up_proj" for layer in range(4)]
        record = {"set": "arith test, chat", "protocol": "greedy", "n": 300, "base": 0.05}
        measured = {"math": {**record, "expert": 0.33, "interval": [0.28, 0.38], "p": 1e-9}}
        experts = {}
        for name in (one.name for one in self._listing(request.session).experts):
            scales = {m: torch.from_numpy(self.z(m, {name: 1.0})) for m in matrices}
            experts[name] = Expert(
                name, scales, metrics=[measured[name]] if name in measured else []
            )
        try:
            return [(0.1, likeness(experts, request.names)), (0.1, Done())]
        except InputError as error:
            return [(0.1, Failed(str(error)))]
