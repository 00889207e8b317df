"""The stages of preprocessing, each of which resumes."""
