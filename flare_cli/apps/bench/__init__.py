"""`flare bench` and what it measures by."""
