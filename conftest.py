"""Plugins with the fixtures of all tests, their threads, and the profile of Hypothesis."""

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.running.object_stores", "tests.support.running.service_fixtures"]

# OpenMP threads wait for each other. Where a core is busy, small fits then take 30 times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when PyTorch is imported

# On a busy machine an example may take seconds, and so may drawing it.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
