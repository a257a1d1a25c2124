"""Jobs: refresh and training."""

import pytest

from tests.helm.rendering import (
    MATRIX,
    NAME,
    OBJECT_STORE,
    REFRESH,
    TRAINING,
    Object,
    merged,
    of_kind,
    pod_templates,
)


def cron_job(name: str, values: Object) -> Object:
    spec: Object = of_kind("CronJob", values)[f"{NAME}-{name}"]["spec"]
    return spec


def test_refresh_runs_by_schedule_and_never_beside_itself() -> None:
    spec = cron_job("refresh", MATRIX["production"])
    assert spec["schedule"] == "0 4 * * *"
    assert spec["timeZone"] == "Europe/Berlin"
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["suspend"] is False
    assert spec["startingDeadlineSeconds"] == 3600
    assert spec["successfulJobsHistoryLimit"] == spec["failedJobsHistoryLimit"] == 3


@pytest.mark.parametrize("values", [REFRESH, TRAINING], ids=["refresh", "training"])
def test_a_job_ends_and_is_not_tried_for_ever(values: Object) -> None:
    [name] = values
    kind = "CronJob" if name == "refresh" else "Job"
    [found] = of_kind(kind, values).values()
    job = found["spec"]["jobTemplate"]["spec"] if kind == "CronJob" else found["spec"]
    assert job["activeDeadlineSeconds"] > 0
    assert job["backoffLimit"] in (1, 2)
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    evicted, misused = job["podFailurePolicy"]["rules"]
    assert evicted["action"] == "Ignore"
    assert evicted["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    [container] = job["template"]["spec"]["containers"]
    assert misused["action"] == "FailJob"
    assert misused["onExitCodes"] == {
        "containerName": container["name"],
        "operator": "In",
        "values": [2, 3],
    }


def test_jobs_write_into_the_volume_and_only_read_the_data() -> None:
    pod = pod_templates(MATRIX["gpu"])[f"{NAME}-training"]["spec"]
    [container] = pod["containers"]
    assert container["args"] == ["fit", "/data/shop", "--store", "/store", "--device", "cuda"]
    mounts = {m["mountPath"]: m for m in container["volumeMounts"]}
    assert "readOnly" not in mounts["/store"]
    assert mounts["/data"]["readOnly"] is True
    claims = {v["name"]: v.get("persistentVolumeClaim") for v in pod["volumes"]}
    assert claims["store"] == {"claimName": "models"}
    assert claims["data"] == {"claimName": "interactions", "readOnly": True}


def test_refresh_runs_once_with_the_options_that_are_given() -> None:
    values = merged(
        REFRESH, {"refresh": {"args": ["--items", "/data/items.csv"], "dataClaim": "items"}}
    )
    [container] = pod_templates(values)[f"{NAME}-refresh"]["spec"]["containers"]
    assert container["args"] == [
        *("refresh", "--store", "/store", "--once", "--threads", "2"),
        *("--items", "/data/items.csv"),
    ]


def test_jobs_run_images_of_their_own_with_the_entry_of_these() -> None:
    for values, name in [(REFRESH, "refresh"), (MATRIX["gpu"], "training")]:
        [container] = pod_templates(values)[f"{NAME}-{name}"]["spec"]["containers"]
        assert container["image"].startswith(f"drepmrec-{name}")
        assert "command" not in container


def test_a_gpu_is_a_limit_and_a_place() -> None:
    for name in ("refresh", "training"):
        pod = pod_templates(MATRIX["gpu"])[f"{NAME}-{name}"]["spec"]
        assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
        assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
        assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    service = pod_templates(MATRIX["gpu"])[NAME]["spec"]
    assert "nodeSelector" not in service


def test_a_refresh_on_a_gpu_takes_no_cpu_instead_and_its_threads_follow_the_limit() -> None:
    [container] = pod_templates(MATRIX["gpu"])[f"{NAME}-refresh"]["spec"]["containers"]
    assert container["args"][-4:] == ["--threads", "8", "--device", "cuda"]


def test_threads_of_pytorch_follow_the_limit() -> None:
    [container] = pod_templates(MATRIX["gpu"])[f"{NAME}-training"]["spec"]["containers"]
    threads = {v["name"]: v["value"] for v in container["env"]}
    assert threads == dict.fromkeys(
        ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "8"
    )


def test_training_is_a_job_that_is_another_one_when_its_values_change() -> None:
    [name] = of_kind("Job", TRAINING)
    assert name.startswith(f"{NAME}-training-")
    same = of_kind("Job", merged(TRAINING, {"replicaCount": 5, "alerts": {"errorRatio": 0.02}}))
    assert list(same) == [name]
    for change in (
        {"training": {"args": ["--seed", "1"]}},
        {"image": {"training": {"tag": "0.2.0"}}},
        OBJECT_STORE,
    ):
        [other] = of_kind("Job", merged(TRAINING, change))
        assert other != name


def test_a_finished_training_stays_until_helm_deletes_it() -> None:
    # The next upgrade would create a Job that is gone, and so train again.
    [job] = of_kind("Job", TRAINING).values()
    assert "ttlSecondsAfterFinished" not in job["spec"]


def test_a_fit_knows_nothing_of_the_service() -> None:
    values = merged(MATRIX["Redis with certificates"], TRAINING)
    [name] = [name for name in pod_templates(values) if "training" in name]
    pod = pod_templates(values)[name]["spec"]
    [container] = pod["containers"]
    assert "envFrom" not in container
    assert not [v["name"] for v in container["env"] if v["name"].startswith("DREPMREC_")]
    assert {volume["name"] for volume in pod["volumes"]} == {"tmp", "store", "data"}


def test_training_with_a_schedule_is_a_cron_job() -> None:
    values = MATRIX["training by schedule"]
    assert of_kind("Job", values) == {}
    spec = cron_job("training", values)
    assert (spec["schedule"], spec["concurrencyPolicy"]) == ("0 1 * * 0", "Forbid")


def test_suspended_jobs_wait() -> None:
    assert cron_job("refresh", merged(REFRESH, {"refresh": {"suspend": True}}))["suspend"] is True
    [job] = of_kind("Job", merged(TRAINING, {"training": {"suspend": True}})).values()
    assert job["spec"]["suspend"] is True
