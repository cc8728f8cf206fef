"""The experts that the worker's double has, and those that visitors keep."""

from dataclasses import replace

from fake_scales import LAYERS, SHAPES

from t2ui.messages import Done, ExpertDeleted, ExpertInfo, Experts, ExpertSaved, Failed, SaveExpert


def expert_info(name: str, kind: str = "expert") -> ExpertInfo:
    labels = () if kind == "dispatcher" else (name,)
    about = "Classifies prompts." if kind == "dispatcher" else f"Trained on {name} questions."
    return ExpertInfo(
        name,
        about,
        labels,
        kind,
        97_920,
        210,
        "smollm2-135m-instruct",
        False,
        [],
        {},
        name.encode().hex().ljust(64, "0"),
        f"{name}.safetensors",
        431_000,
    )


class Shelf:
    """Knows experts by name alone."""

    def experts(self, session=""):
        return None if self.loading else self._listing(session)

    def _listing(self, session=""):
        infos = [expert_info(name) for name in self.names]
        if self.names:
            infos.append(expert_info("dispatch", "dispatcher"))
        infos += [
            replace(expert_info(key.rpartition("/")[2]), saved=True)
            for key, saved in self.saved.items()
            if not self.public or saved.session == session
        ]
        return Experts(
            tuple(infos),
            self.problems,
            (*self.names, "others"),
            tuple(SHAPES),
            LAYERS,
            ("prompt", "expert", "none") if self.names else ("prompt", "none"),
            "expert" if self.names else "prompt",
            session,
        )

    def _key(self, name, request):
        """In a public app each session has its own experts, with names of its own."""
        return f"{request.session}/{name}" if self.public else name

    def _taken(self, name, request):
        if name in self.names or self._key(name, request) in self.saved:
            taken = f"There is an expert {name!r} already: choose another name."
            return [(0.02, Failed(taken))]
        return None

    def _save(self, request):
        if refused := self._taken(request.name, request):
            return refused
        self.saved[self._key(request.name, request)] = request
        saved = ExpertSaved(
            request.name, f"{request.name}.safetensors", self._listing(request.session)
        )
        return [(0.02, saved), (0.02, Done())]

    def _add(self, request):
        """The double's files hold a name and nothing else."""
        try:
            name = request.data.decode("ascii")
        except UnicodeDecodeError:
            return [(0.02, Failed("added.safetensors is not a readable safetensors file."))]
        return self._save(replace(SaveExpert(name, {"math": 1.0}), session=request.session))

    def _rename(self, request):
        if refused := self._taken(request.new_name, request):
            return refused
        kept = self.saved.pop(self._key(request.name, request))
        self.saved[self._key(request.new_name, request)] = kept
        saved = ExpertSaved(
            request.new_name, f"{request.new_name}.safetensors", self._listing(request.session)
        )
        return [(0.02, saved), (0.02, Done())]

    def _delete(self, request):
        del self.saved[self._key(request.name, request)]
        return [(0.02, ExpertDeleted(request.name, self._listing(request.session))), (0.02, Done())]

    def _end_session(self, request):
        for name in [n for n, saved in self.saved.items() if saved.session == request.session]:
            del self.saved[name]
        return [(0.0, Done())]
