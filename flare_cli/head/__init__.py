"""Parametric heads: the open head, skinning, landmarks, ARKit names."""
