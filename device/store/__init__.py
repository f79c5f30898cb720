"""What must not be lost: the one SQLite file, its tables, and what stands in for it."""
