"""The night: what it works with, whether its model may go out, and what it reports."""
