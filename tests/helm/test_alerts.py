"""Alerts, evaluated by promtool: each fires on its series and stays quiet on others."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.helm.rendering import CHART, NAME, NAMESPACE, Object, of_kind
from tests.support.paths import DOCS

SEARCHED = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin"
PROMTOOL = shutil.which("promtool") or shutil.which("promtool", path=SEARCHED)
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="no promtool: `make promtool` gets one"
)

Series = dict[str, str]
"""Values in promtool's notation, a sample for each interval of the case, by series."""

VALUES = {"alerts": {"enabled": True}}
OF = f'namespace="{NAMESPACE}", job="{NAME}"'
OTHER = 'namespace="elsewhere", job="other"'


def rules() -> dict[str, Object]:
    [group] = of_kind("PrometheusRule", VALUES)[NAME]["spec"]["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def requests(status: int, rate: int, of: str = OF) -> Series:
    """Requests of one status, `rate` a minute."""
    labels = f'{of}, pod="a", endpoint="/recommend/{{user_id}}", status="{status}"'
    return {f"drepmrec_request_seconds_count{{{labels}}}": f"0+{rate}x120"}


def timed(fast: int, slow: int, of: str = OF) -> Series:
    """Durations of requests: `fast` a minute below 0.1 s and `slow` between 0.1 and 0.5 s."""
    labels = f'{of}, endpoint="/recommend/{{user_id}}", status="200"'
    buckets = [("0.1", fast), ("0.5", fast + slow), ("+Inf", fast + slow)]
    return {
        f'drepmrec_request_seconds_bucket{{{labels}, le="{le}"}}': f"0+{rate}x120"
        for le, rate in buckets
    }


def users(known: int, unknown: int, of: str = OF) -> Series:
    """Users asked for, a minute. Look-ups of other stages and items must not count."""
    return {
        f'drepmrec_stage_seconds_count{{{of}, stage="vector"}}': f"0+{known + unknown}x120",
        f'drepmrec_stage_seconds_count{{{of}, stage="state"}}': "0+1x120",
        f'drepmrec_fallbacks_total{{{of}, reason="unknown_user"}}': f"0+{unknown}x120",
        f'drepmrec_fallbacks_total{{{of}, reason="unknown_items"}}': "0+1000x120",
    }


def gauge(name: str, values: str, of: str = OF, **labels: str) -> Series:
    more = "".join(f', {key}="{value}"' for key, value in labels.items())
    return {f'drepmrec_{name}{{{of}, pod="a"{more}}}': values}


def refused(values: str, of: str = OF, reason: str = "damaged") -> Series:
    return gauge("bundles_refused_total", values, of, reason=reason)


def recall(mean: str, samples: str, of: str = OF) -> Series:
    return gauge("live_recall", mean, of) | gauge("live_recall_samples_total", samples, of)


def outcomes(change: float, noise: float, hours: int = 8, of: str = OF) -> Series:
    """Outcomes of 16 groups of users under a bundle and then under another, every 15 minutes.

    Args:
        change: of the rate of events per answer, 0.4, under the second bundle.
        noise: by which the change differs between neighbouring groups.
        hours: for which the second bundle serves before the end of the series at 34 hours.
        of: labels of the series.
    """
    end, start = 34 * 4, (34 - hours) * 4
    found = gauge("bundle_info", f"1x{start} 0x{end - start}", of, version="v1", index="flat")
    found |= gauge("bundle_info", f"_x{start} 1x{end - start}", of, version="v2", index="flat")
    for group in range(16):
        sign = 1 if group % 2 else -1
        for version, rate in (("v1", 0.4), ("v2", 0.4 + change + sign * noise)):
            labels = {"bundle": version, "user_group": str(group)}
            for name, number in (("answers", 100), ("events", 100 * rate * (1 + group / 50))):
                first = f"0+{number:g}x{start} {number * start:g}x{end - start}"
                values = first if version == "v1" else f"_x{start} 0+{number:g}x{end - start}"
                found |= gauge(f"outcome_{name}_total", values, of, **labels)
    return found


class Case(NamedTuple):
    """Input of an alert's tests, evaluated at the time `at` and at every interval before."""

    at: str
    firing: Series
    quiet: list[Series]
    interval: str = "1m"


CASES = {
    "DRepMRecErrors": Case(
        "30m",
        requests(200, 980) | requests(503, 20),
        [
            requests(200, 995) | requests(503, 5),
            requests(200, 900) | requests(422, 100),
            requests(200, 980, OTHER) | requests(500, 20, OTHER),
        ],
    ),
    "DRepMRecDown": Case(
        "30m",
        gauge("bundle_age_seconds", "1x10") | gauge("bundle_age_seconds", "1x60", OTHER),
        [
            gauge("bundle_age_seconds", "1x60"),
            gauge("bundle_age_seconds", "1x22 _x2 1x60"),
        ],
    ),
    "DRepMRecRequestsRefused": Case(
        "60m",
        requests(200, 850) | requests(422, 150),
        [
            requests(200, 850) | requests(422, 80) | requests(429, 70),
            requests(200, 500) | requests(503, 500),
            requests(200, 500, OTHER) | requests(422, 500, OTHER),
            requests(422, 0),
        ],
    ),
    "DRepMRecSlow": Case(
        "30m",
        timed(980, 20),
        [timed(995, 5), timed(980, 20, OTHER), timed(0, 0)],
    ),
    "DRepMRecFallbacks": Case(
        "90m",
        users(60, 40),
        [users(80, 20), users(60, 40, OTHER), users(60, 0)],
    ),
    "DRepMRecRedisDegraded": Case(
        "10m",
        gauge("degraded", "0 1x20"),
        [
            gauge("degraded", "0x20"),
            gauge("degraded", "1x2 0x20"),
            gauge("degraded", "1x20", OTHER),
        ],
    ),
    "DRepMRecBundleStale": Case(
        "30m",
        gauge("bundle_age_seconds", "172500+60x40"),
        [
            gauge("bundle_age_seconds", "165600+60x40"),
            gauge("bundle_age_seconds", "172500+60x10 5+60x40"),
            gauge("bundle_age_seconds", "172500+60x40", OTHER),
        ],
    ),
    "DRepMRecBundleRefused": Case(
        "30m",
        refused("0x20 1x20"),
        [
            refused("0x60"),
            refused("0x20 1x20", OTHER),
            refused("0x10 0+12x8 96x60", reason="store"),
        ],
    ),
    "DRepMRecBundleBehind": Case(
        "30m",
        gauge("bundle_behind", "0x5 1x40"),
        [
            gauge("bundle_behind", "0x40"),
            gauge("bundle_behind", "0x20 1x5 0x20"),
            gauge("bundle_behind", "1x40", OTHER),
        ],
    ),
    "DRepMRecBackgroundWork": Case(
        "30m",
        gauge("background_failures_total", "0x10 0+1x40", work="reload"),
        [
            gauge("background_failures_total", "0x60", work="reload"),
            gauge("background_failures_total", "0+1x60", OTHER, work="reload"),
            gauge("background_due_seconds", "0+60x60", work="reload"),
            gauge("background_due_seconds", "0x60", OTHER, work="reload"),
        ],
    ),
    "DRepMRecArmSuspended": Case(
        "30m",
        gauge("experiment_arm_suspended", "0x5 1x40", experiment="home", arm="b"),
        [
            gauge("experiment_arm_suspended", "0x40", experiment="home", arm="b"),
            gauge("experiment_arm_suspended", "0x20 1x2 0x20", experiment="home", arm="b"),
            gauge("experiment_arm_suspended", "1x40", OTHER, experiment="home", arm="b"),
        ],
    ),
    "DRepMRecOutcomes": Case(
        "34h",
        outcomes(-0.08, 0.04),
        [
            outcomes(0.0, 0.04),
            outcomes(0.08, 0.04),
            outcomes(-0.08, 0.16),  # as far as chance goes
            outcomes(-0.03, 0.0),  # too little
            outcomes(-0.08, 0.04, hours=5),
            outcomes(-0.08, 0.04, hours=34),  # nothing to compare with
            outcomes(-0.08, 0.04, of=OTHER),
        ],
        interval="15m",
    ),
    "DRepMRecLiveRecall": Case(
        "90m",
        recall("0.99x10 0.9x110", "0+1x120"),
        [
            recall("0.99x120", "0+1x120"),
            recall("0x120", "0x120"),
            recall("0.9x120", "0+1x120", OTHER),
        ],
    ),
}


def promtool(
    tmp_path: Path, *arguments: str, **files: Object
) -> "subprocess.CompletedProcess[str]":
    """Run promtool beside files of the given names and contents. JSON is YAML, too."""
    assert PROMTOOL is not None
    for name, content in files.items():
        (tmp_path / f"{name}.yml").write_text(json.dumps(content))
    return subprocess.run(
        [PROMTOOL, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )


def fires(tmp_path: Path, alert: str, series: Series, at: str, interval: str = "1m") -> str | None:
    """The firing alerts of one rule, as promtool prints them; None if there are none."""
    test = {
        "interval": interval,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": at, "alertname": alert, "exp_alerts": []}],
    }
    content = {"rule_files": ["rules.yml"], "evaluation_interval": interval, "tests": [test]}
    spec = {"groups": [{"name": "one", "rules": [rules()[alert]]}]}
    done = promtool(tmp_path, "test", "rules", "test.yml", rules=spec, test=content)
    if done.returncode == 0:
        return None
    got = re.search(r"got:\[(.*)", done.stdout + done.stderr, re.DOTALL)
    assert got, done.stdout + done.stderr
    return got[1]


@needs_promtool
@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires(tmp_path: Path, alert: str) -> None:
    case = CASES[alert]
    fired = fires(tmp_path, alert, case.firing, case.at, case.interval)
    assert fired is not None
    severity = rules()[alert]["labels"]["severity"]
    assert f'severity="{severity}"' in fired
    # The templates of the annotations are filled in.
    assert "summary=" in fired
    assert "{{" not in fired


@needs_promtool
@pytest.mark.parametrize(
    ("alert", "number"),
    [(name, n) for name, case in CASES.items() for n in range(len(case.quiet))],
)
def test_an_alert_is_quiet(tmp_path: Path, alert: str, number: int) -> None:
    case = CASES[alert]
    assert fires(tmp_path, alert, case.quiet[number], case.at, case.interval) is None


@needs_promtool
def test_a_refusal_is_seen_in_a_counter_that_begins_with_it_and_is_over_after_an_hour(
    tmp_path: Path,
) -> None:
    series = refused("_x20 1x200")
    assert fires(tmp_path, "DRepMRecBundleRefused", series, "30m") is not None
    assert fires(tmp_path, "DRepMRecBundleRefused", series, "100m") is None


@needs_promtool
def test_background_work_that_hangs_is_overdue(tmp_path: Path) -> None:
    series = gauge("background_due_seconds", "0+60x10 600x60", work="reload")
    assert fires(tmp_path, "DRepMRecBackgroundWork", series, "20m") is None
    assert fires(tmp_path, "DRepMRecBackgroundWork", series, "40m") is not None


@needs_promtool
def test_a_store_that_does_not_answer_for_long_is_seen(tmp_path: Path) -> None:
    series = refused("0x10 0+12x60", reason="store")
    assert fires(tmp_path, "DRepMRecBundleRefused", series, "15m") is None
    assert fires(tmp_path, "DRepMRecBundleRefused", series, "30m") is not None


def test_every_alert_has_its_cases_and_its_paragraph() -> None:
    assert set(rules()) == set(CASES)
    page = (DOCS / "guide" / "operations.md").read_text()
    assert set(re.findall(r"`(DRepMRec\w+)`", page)) == set(CASES)


@needs_promtool
def test_promtool_takes_the_rules_and_the_dashboards_expressions(tmp_path: Path) -> None:
    dashboard = json.loads((CHART / "dashboards" / "drepmrec.json").read_text())
    asked = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", [])]
    queries = [
        {"record": f"panel:{n}", "expr": expression.replace("$__rate_interval", "5m")}
        for n, expression in enumerate(asked)
    ]
    groups: list[Object] = [{"name": "alerts", "rules": list(rules().values())}]
    groups.append({"name": "panels", "rules": queries})
    done = promtool(tmp_path, "check", "rules", "rules.yml", rules={"groups": groups})
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(queries) + len(CASES)} rules found" in done.stdout
