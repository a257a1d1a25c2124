"""Command line `python -m training`: results on stdout, progress and messages on stderr."""

from training.cli.lazy import CommandEntry, command_group, run

COMMANDS = (
    CommandEntry(
        "fit",
        "Fit a model and publish it as a bundle.",
        "training.cli.fit",
        "fit",
    ),
    CommandEntry(
        "refresh",
        "Publish a bundle that includes the events and item changes since the live one.",
        "training.cli.refresh",
        "refresh",
    ),
    CommandEntry(
        "tune",
        "Search for hyper-parameters and print the best ones as TOML.",
        "training.cli.tune",
        "tune",
    ),
    CommandEntry(
        "evaluate",
        "Evaluate a published bundle and compare it with baselines.",
        "training.cli.evaluate",
        "evaluate",
    ),
    CommandEntry(
        "experiment",
        "Report which arm of an experiment won.",
        "training.cli.experiment",
        "app",
    ),
    CommandEntry(
        "recommend",
        "Write the recommendations of many users as Parquet files.",
        "training.cli.recommend",
        "recommend",
    ),
    CommandEntry(
        "features",
        "Extract text and image features of items with neural encoders.",
        "training.cli.content",
        "features",
    ),
    CommandEntry(
        "encoders",
        "Write the default text and image encoders, for a service that encodes content.",
        "training.cli.content",
        "encoders",
    ),
    CommandEntry(
        "demo",
        "Generate a synthetic shop: drawn pictures, titles, and users with known preferences.",
        "training.cli.demo",
        "demo",
    ),
    CommandEntry(
        "config",
        "Print every hyper-parameter with its value and description.",
        "training.cli.fit",
        "show_config",
    ),
    CommandEntry(
        "bundles",
        "List, inspect, verify, roll back and delete the bundles of a store.",
        "training.cli.bundles",
        "app",
    ),
)

SUMMARY = "Train and evaluate DRepMRec, and manage the store that the service reads."


def main() -> None:
    """Run the command line."""
    run(command_group(COMMANDS, SUMMARY), "python -m training")
