"""Has what the camera shows, or what the model makes of it, moved?"""
