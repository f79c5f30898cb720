"""The machine beside the box: trigger, handshake with its PLC, stack light, and the plant."""
