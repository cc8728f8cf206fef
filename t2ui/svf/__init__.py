"""Decompose: weight matrices into U, σ, Vh; experts, mixtures, the adapter that applies them."""
