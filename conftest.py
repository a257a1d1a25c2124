"""Plugins with the fixtures of all tests, and the profile of Hypothesis for all of them."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.running.object_stores", "tests.support.running.service_fixtures"]

# On a busy machine an example may take seconds, and so may drawing it.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
