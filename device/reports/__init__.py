"""Figures for people: shifts, lots, how often the model is right."""
