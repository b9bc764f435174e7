"""What every room stands on: errors, paths, hashes, files, locks, child processes, schemas."""
