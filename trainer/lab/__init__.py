"""The laboratory: the paper's Algorithm I, its rivals, and the experiments that compare them."""
