"""Audit of a bundle: who is served how well, which items are seen, what each rule costs, in figures and in words."""
