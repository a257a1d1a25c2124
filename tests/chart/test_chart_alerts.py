"""Each alert fires when it should and is quiet when not, as promtool sees it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from chart_rendering import CHART, NAME, NAMESPACE, ROOT, of_kind

SEARCHED = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin"
PROMTOOL = shutil.which("promtool") or shutil.which("promtool", path=SEARCHED)
pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="no promtool: `make promtool` gets one")

VALUES = {"alerts": {"enabled": True}}
OF = f'namespace="{NAMESPACE}", job="{NAME}"'
OTHER = 'namespace="elsewhere", job="other"'


def rules():
    [group] = of_kind("PrometheusRule", VALUES)[NAME]["spec"]["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def requests(status, rate, of=OF, endpoint="/recommend/{user_id}"):
    labels = f'{of}, pod="a", endpoint="{endpoint}", status="{status}"'
    return {f"drepmrec_request_seconds_count{{{labels}}}": f"0+{rate}x120"}


def timed(fast, slow, of=OF):
    """Requests a minute below 0.1 s, and those between 0.1 and 0.5 s."""
    labels = f'{of}, endpoint="/recommend/{{user_id}}", status="200"'
    buckets = [("0.1", fast), ("0.5", fast + slow), ("+Inf", fast + slow)]
    return {
        f'drepmrec_request_seconds_bucket{{{labels}, le="{le}"}}': f"0+{rate}x120"
        for le, rate in buckets
    }


def users(known, unknown, of=OF):
    return {
        f'drepmrec_stage_seconds_count{{{of}, stage="vector"}}': f"0+{known + unknown}x120",
        f'drepmrec_stage_seconds_count{{{of}, stage="state"}}': "0+1x120",
        f'drepmrec_fallbacks_total{{{of}, reason="unknown_user"}}': f"0+{unknown}x120",
        f'drepmrec_fallbacks_total{{{of}, reason="unknown_items"}}': "0+1000x120",
    }


def gauge(name, values, of=OF, **labels):
    more = "".join(f', {key}="{value}"' for key, value in labels.items())
    return {f'drepmrec_{name}{{{of}, pod="a"{more}}}': values}


def refused(values, of=OF, reason="damaged"):
    return gauge("bundles_refused_total", values, of, reason=reason)


def recall(mean, samples, of=OF):
    return gauge("live_recall", mean, of) | gauge("live_recall_samples_total", samples, of)


CASES = {
    "DRepMRecErrors": (
        "30m",
        requests(200, 980) | requests(503, 20),
        [
            requests(200, 995) | requests(503, 5),
            requests(200, 900) | requests(422, 100),
            requests(200, 980, OTHER) | requests(500, 20, OTHER),
        ],
    ),
    "DRepMRecSlow": (
        "30m",
        timed(980, 20),
        [timed(995, 5), timed(980, 20, OTHER), timed(0, 0)],
    ),
    "DRepMRecFallbacks": (
        "90m",
        users(60, 40),
        [users(80, 20), users(60, 40, OTHER), users(60, 0)],
    ),
    "DRepMRecRedisDegraded": (
        "10m",
        gauge("degraded", "0 1x20"),
        [
            gauge("degraded", "0x20"),
            gauge("degraded", "1x2 0x20"),
            gauge("degraded", "1x20", OTHER),
        ],
    ),
    "DRepMRecBundleStale": (
        "30m",
        gauge("bundle_age_seconds", "172500+60x40"),
        [
            gauge("bundle_age_seconds", "165600+60x40"),
            gauge("bundle_age_seconds", "172500+60x10 5+60x40"),
            gauge("bundle_age_seconds", "172500+60x40", OTHER),
        ],
    ),
    "DRepMRecBundleRefused": (
        "30m",
        refused("0x20 1x20"),
        [
            refused("0x60"),
            refused("0x20 1x20", OTHER),
            refused("0x10 0+12x8 96x60", reason="store"),
        ],
    ),
    "DRepMRecLiveRecall": (
        "90m",
        recall("0.99x10 0.9x110", "0+1x120"),
        [
            recall("0.99x120", "0+1x120"),
            recall("0x120", "0x120"),
            recall("0.9x120", "0+1x120", OTHER),
        ],
    ),
}
"""When it is looked at; series that fire; series that do not. A sample a minute."""


def promtool(tmp_path, *arguments, **files):
    for name, content in files.items():
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump(content))
    return subprocess.run(
        [PROMTOOL, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )


def fires(tmp_path, alert, series, at):
    """Whether an alert fires, and not what else does."""
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": at, "alertname": alert, "exp_alerts": []}],
    }
    content = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [test]}
    spec = {"groups": [{"name": "one", "rules": [rules()[alert]]}]}
    done = promtool(tmp_path, "test", "rules", "test.yml", rules=spec, test=content)
    if done.returncode == 0:
        return None
    got = re.search(r"got:\[(.*)", done.stdout + done.stderr, re.DOTALL)
    assert got, done.stdout + done.stderr
    return got[1]


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires(tmp_path, alert):
    at, series, _ = CASES[alert]
    fired = fires(tmp_path, alert, series, at)
    assert fired is not None
    severity = rules()[alert]["labels"]["severity"]
    assert f'severity="{severity}"' in fired
    # Templates of annotations are filled.
    assert "summary=" in fired
    assert "{{" not in fired


@pytest.mark.parametrize(
    ("alert", "number"), [(name, n) for name, case in CASES.items() for n in range(len(case[2]))]
)
def test_an_alert_is_quiet(tmp_path, alert, number):
    at, _, quiet = CASES[alert]
    assert fires(tmp_path, alert, quiet[number], at) is None


def test_a_refusal_is_seen_in_a_counter_that_begins_with_it_and_is_over_after_an_hour(tmp_path):
    series = refused("_x20 1x200")
    assert fires(tmp_path, "DRepMRecBundleRefused", series, "30m") is not None
    assert fires(tmp_path, "DRepMRecBundleRefused", series, "100m") is None


def test_a_store_that_does_not_answer_for_long_is_seen(tmp_path):
    series = refused("0x10 0+12x60", reason="store")
    assert fires(tmp_path, "DRepMRecBundleRefused", series, "15m") is None
    assert fires(tmp_path, "DRepMRecBundleRefused", series, "30m") is not None


def test_every_alert_has_its_cases_and_its_paragraph():
    assert set(rules()) == set(CASES)
    page = (ROOT / "docs" / "operations.md").read_text()
    assert set(re.findall(r"`(DRepMRec\w+)`", page)) == set(CASES)


def test_promtool_takes_the_rules_and_the_dashboards_expressions(tmp_path):
    dashboard = json.loads((CHART / "dashboards" / "drepmrec.json").read_text())
    asked = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", [])]
    queries = [
        {"record": f"panel:{n}", "expr": expression.replace("$__rate_interval", "5m")}
        for n, expression in enumerate(asked)
    ]
    groups = [{"name": "alerts", "rules": list(rules().values())}]
    groups.append({"name": "panels", "rules": queries})
    done = promtool(tmp_path, "check", "rules", "rules.yml", rules={"groups": groups})
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(queries) + len(CASES)} rules found" in done.stdout
