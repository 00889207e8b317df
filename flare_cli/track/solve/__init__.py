"""The whole track at once: energy, its derivatives, Levenberg-Marquardt."""
