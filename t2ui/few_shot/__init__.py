"""Few-shot adaptation: from a few examples to a mixture."""
