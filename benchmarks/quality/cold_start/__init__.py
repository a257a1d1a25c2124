"""Cold start: quality for items and users that the model was not fitted on."""
