"""A subject in the layout of other programs, so that they can be run on our preprocessing."""
