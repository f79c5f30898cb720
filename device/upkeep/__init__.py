"""The store kept small, whole and copied; mended where it is not."""
