"""Which experts a base model can use: by the names and shapes of its matrices and its fingerprint.

Knows no weights: whoever has them (an adapter, a folder of checkpoint files) gives the shapes and,
on demand, leading singular values.
"""

from collections.abc import Callable, Iterable, Mapping

from t2ui.errors import InputError
from t2ui.svf.decomposition import fingerprint_from, same_model, same_shapes
from t2ui.svf.expert import Expert

Shape = tuple[int, int]  # (out, in) of a matrix


class Fit:
    """What of a base model decides whether an expert fits.

    Args:
        model: its name in messages.
        shapes: of its adapted matrices, by full module name.
        leading: the largest singular value of a matrix; asked for when a fingerprint needs it.
    """

    def __init__(self, model: str, shapes: Mapping[str, Shape], leading: Callable[[str], float]):
        self.model, self.shapes, self._leading = model, dict(shapes), leading

    def check(self, expert: Expert, allow_transfer: bool = False) -> None:
        """Refuse an expert that does not fit.

        Raises:
            InputError: other matrices or shapes (lists the first mismatches), or, unless
                `allow_transfer`, the same shapes with other weights.
        """
        wrong = []
        for name, z in expert.scales.items():
            if name not in self.shapes:
                wrong.append(f"{name}: not in the model")
            elif z.numel() != min(self.shapes[name]):
                wrong.append(f"{name}: {z.numel()} scales, the model has {min(self.shapes[name])}")
        if wrong:
            raise InputError(
                f"Expert {expert.name!r} is for {expert.base_model or 'another model'} and does "
                f"not fit: {'; '.join(wrong[:3])}{' …' if len(wrong) > 3 else ''} "
                f"({len(wrong)} in all). Load the model it was made for."
            )
        if expert.fingerprint and not same_shapes(
            expert.fingerprint, self.fingerprint_of(expert.scales)
        ):  # as many singular values, but of matrices with another longer side
            raise InputError(
                f"Expert {expert.name!r} is for {expert.base_model or 'another model'}, whose "
                f"matrices have other shapes than those of {self.model}, and does not "
                "fit: load the model it was made for."
            )
        if self.is_transfer(expert) and not allow_transfer:
            raise InputError(
                f"Expert {expert.name!r} was made for {expert.base_model or 'other weights'} and "
                "the loaded model has the same shapes but other weights; ask for a cross-model "
                "transfer (allow_transfer) to use it all the same."
            )

    def fingerprint_of(self, names: Iterable[str]) -> str:
        """Fingerprint of some of the matrices: what an expert of just those records."""
        return fingerprint_from({name: self.shapes[name] for name in names}, self._leading)

    def is_transfer(self, expert: Expert) -> bool:
        """Whether a fitting expert was made for other weights than this model's."""
        return bool(expert.fingerprint) and not same_model(
            expert.fingerprint, self.fingerprint_of(expert.scales)
        )
