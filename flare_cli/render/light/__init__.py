"""Light from all around, and what surfaces make of it."""
