"""Generators of reasoning_gym, `rg:NAME`: rows without end, made in a process of their own.

`process` is one generator with its settings; `stream` its rows, divided into train, validation and
test; `wording` says how answers are asked for; `named` takes all of that from a name. Knows no
model and no task: `tasks.generated` makes these rows a task.
"""
