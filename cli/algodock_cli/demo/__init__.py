"""``algodock demo``: the main job of the platform, done for real before one's eyes."""
