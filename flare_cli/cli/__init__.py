"""Typer commands: parse, call one app, show. The only place that prints."""
