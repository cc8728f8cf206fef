"""From a prompt to its answer: decoding, pass one, and the two passes together."""
