"""What runs beside the machine: inference, KLS, the store and the inspection loop."""
