"""From a frame to a verdict: model file, patches, scores; which patches are worth a question."""
