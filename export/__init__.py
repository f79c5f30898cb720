"""What carries a model from trainer to device: the ONNX file and the proof of its parity."""
