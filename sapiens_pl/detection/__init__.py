"""Boxes from a person detector that looks at every picture first."""
