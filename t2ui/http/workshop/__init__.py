"""A workshop's doors: who sits where, the contest, the board. `doors` are the routes, `play` has
the worker carry the contest out. What a workshop is stands in `t2ui.workshop`."""
