"""From labelled patches to a model: networks, the training run, calibration, thresholds."""
