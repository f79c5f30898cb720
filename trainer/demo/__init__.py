"""`millsight demo`: a plant of two devices and a trainer on one machine."""
