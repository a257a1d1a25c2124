"""Models of public toolboxes, trained in environments of their own."""
