"""Adapt: from a few examples to a mixture."""
