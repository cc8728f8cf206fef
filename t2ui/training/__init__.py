"""Train: from a model and a task to an expert, or to a LoRA as its baseline."""
