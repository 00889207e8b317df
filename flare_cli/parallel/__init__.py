"""Work on all cores: threads, worker processes, blocks; and how far it is."""
