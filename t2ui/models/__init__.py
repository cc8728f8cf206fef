"""Base models: finding and loading them, and the likelihoods they give."""
