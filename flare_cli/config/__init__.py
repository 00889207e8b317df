"""Typed TOML settings."""
