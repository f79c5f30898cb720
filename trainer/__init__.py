"""What learns: networks, training, the night. The only room besides `export` with torch."""
