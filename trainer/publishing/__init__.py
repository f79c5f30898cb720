"""Models on their way to the devices: keys, the signed repository, releases."""
