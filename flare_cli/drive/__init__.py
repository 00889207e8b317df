"""What moves an avatar: other people, captures, presets."""
