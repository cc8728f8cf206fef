"""Rows of work on this machine or on others: what is done with them, and who does it."""
