"""Where the two halves meet: requests in plain data, answered by a model."""
