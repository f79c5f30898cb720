"""Where frames come from: sources, the simulated platform, the frame-quality gate."""

import os

# What a file or a stream lacks is reported in one line of ours; OpenCV would print its own beside
# it. Read when it is loaded; set them to see more.
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
