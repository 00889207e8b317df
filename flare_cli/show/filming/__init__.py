"""Films of an avatar: its performance, lights and lamps, what is behind it, how the camera moves."""
