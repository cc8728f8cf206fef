"""The process that owns the model, and the clients that talk to it."""
