"""Answer: decoding, pass one, and the two passes together."""
