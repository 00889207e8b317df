"""One function per command: request to result, progress by callback, never prints."""
