"""The inspection loop, and what it does beside judging: parts, recipes, questions kept."""
