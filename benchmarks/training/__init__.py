"""Speed and memory of fits and refreshes."""
