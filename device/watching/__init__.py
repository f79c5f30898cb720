"""How the device is, for whoever looks from outside."""
