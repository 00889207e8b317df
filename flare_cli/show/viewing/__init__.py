"""A page that shows an avatar live: what it asks for, what the engine draws of it, and who may ask."""
