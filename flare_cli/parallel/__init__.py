"""Work on all cores: threads, worker processes, a stream from a process, blocks; and how far it is."""
