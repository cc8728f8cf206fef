"""Measure: methods on tasks, with intervals, paired tests, tables and the expert card."""
