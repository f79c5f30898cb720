"""Takes in models that the trainer published: verified, tried out, on probation, and back."""
