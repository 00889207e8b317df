"""Metrics, ground-truth comparison, reports."""
