"""Tasks from reasoning_gym's generators, `rg:NAME`: rows without end, each with its own scorer.

`load` makes the task; `generator` is one generator with its settings; `rows` divides what it makes
into train, validation and test; `scores` judges answers; `wording` says how answers are asked for.
"""
