"""Where frames come from: sources, the simulated platform, the frame-quality gate."""
