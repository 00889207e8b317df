"""Triangles to pixels: the protocol, its backends, and what is theirs together."""
