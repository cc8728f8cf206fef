"""Plain arrays to plotly figures."""
