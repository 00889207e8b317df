"""Trainable fields over the unit cube: the protocol and its backends."""
