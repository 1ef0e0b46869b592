"""The main job: many models and a task in, one better system out."""
