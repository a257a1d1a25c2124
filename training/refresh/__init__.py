"""From what happened while a bundle was served to the next bundle."""
