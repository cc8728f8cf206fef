"""An HTTP route that a test adds: one file, and one line in `catalogue.ROUTES`."""

import gradio as gr

from t2ui.ui.api.route import Route


def count_of(client):
    async def count(more: int = 0) -> int:
        """How many experts there are, and `more`."""
        if more < 0:
            raise gr.Error(f"more is {more}; expected 0 or more.", print_exception=False)
        return len(client.experts().experts) + more

    return count


ROUTE = Route(count_of)
