"""Quality of recommendations: tables of metrics, new items and users, a replayed log."""
