"""The models on hand, which one judges, and how another takes its place."""
