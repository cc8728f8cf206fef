"""In and out: experts as the files of other tools, and theirs as experts."""
