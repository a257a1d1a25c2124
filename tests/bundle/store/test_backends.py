"""One contract for all stores: a directory, fsspec's memory and local file system, S3."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from fsspec.implementations.local import LocalFileSystem

from bundle.errors import BundleError, InputError, StoreError
from bundle.format import writer as bundle_contents
from bundle.store import retention
from bundle.store.store import BundleStore
from tests.support.data.bundles import make_contents, publish
from tests.support.running.object_stores import StoreBackend, skip_lease_settling

MISSING = "20200101T000000Z-deadbeef"


@pytest.fixture(params=["directory", "memory", "local", "s3"])
def backend(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> StoreBackend:
    skip_lease_settling(monkeypatch)
    if request.param == "directory":
        root = str(tmp_path / "store")
        return StoreBackend(root, LocalFileSystem(auto_mkdir=True), root, tmp_path / "cache")
    made: StoreBackend = request.getfixturevalue(f"{request.param}_backend")
    return made


@pytest.fixture
def store(backend: StoreBackend) -> BundleStore:
    return backend.store()


def test_a_published_bundle_is_loaded_unchanged(
    store: BundleStore, backend: StoreBackend, tmp_path: Path
) -> None:
    contents = make_contents(60, 40, 8, rng=np.random.default_rng(0))
    version = store.publish(contents)
    for reader in (store, backend.store(tmp_path / "another-cache")):
        bundle = reader.load()
        assert bundle.version == version == reader.current()
        assert reader.versions() == [version]
        np.testing.assert_array_equal(bundle.user_vectors, contents.user_vectors)
        np.testing.assert_array_equal(bundle.item_vectors, contents.item_vectors)
        np.testing.assert_array_equal(bundle.seen.indices, contents.seen.indices)
        np.testing.assert_array_equal(bundle.popularity, contents.seen.column_counts())
        assert bundle.users.ids == contents.users.ids
        assert bundle.item_table.equals(contents.item_table)
        assert bundle.manifest.parts == contents.parts
        assert bundle.report == contents.report
        sample = contents.encoder_sample
        encoded = bundle.item_encoder.encode(sample.features, sample.present)
        np.testing.assert_allclose(encoded, sample.item_vectors, atol=1e-5)
        assert store.verify(version) == bundle.manifest


def test_the_check_before_long_work_leaves_nothing(
    store: BundleStore, backend: StoreBackend
) -> None:
    store.check_usable()
    assert backend.objects() == []
    publish(store)
    before = backend.objects()
    store.check_usable()
    assert backend.objects() == before


def test_an_empty_store_and_unknown_versions_are_refused(store: BundleStore) -> None:
    with pytest.raises(StoreError, match="nothing is published"):
        store.current()
    assert store.versions() == []
    assert store.live_version() is None
    assert retention.collect(store, keep=1) == []
    version = publish(store)
    for unknown in (MISSING, "nonsense", "", "../bundles", f"../bundles/{version}"):
        with pytest.raises(StoreError, match="has no bundle"):
            store.path(unknown)
        with pytest.raises(StoreError, match="has no bundle"):
            store.manifest(unknown)
        with pytest.raises(StoreError):
            store.rollback(unknown or MISSING)
    with pytest.raises(StoreError, match="no parent"):
        store.rollback()
    assert store.current() == version


@pytest.mark.parametrize("pointer", [f"{MISSING}\n".encode(), b"", b"nonsense", b"\xff\xfe", b".."])
def test_a_pointer_to_no_bundle_is_refused_and_can_be_repaired(
    store: BundleStore, backend: StoreBackend, pointer: bytes
) -> None:
    version = publish(store)
    backend.write("CURRENT", pointer)
    for use in (store.current, store.load, lambda: retention.collect(store, keep=1)):
        with pytest.raises(StoreError, match=r"CURRENT names .* which does not exist"):
            use()
    assert store.versions() == [version]
    assert store.rollback(version) == version == store.current()


@pytest.mark.slow
def test_rollback_goes_to_the_parent_or_to_a_given_version(store: BundleStore) -> None:
    first, second, third = (publish(store, seed) for seed in range(3))
    assert store.rollback() == second == store.current()
    assert store.rollback() == first
    assert store.rollback(third) == third == store.current()


def test_rollback_to_a_damaged_bundle_changes_nothing(
    store: BundleStore, backend: StoreBackend
) -> None:
    first, second = publish(store, 0), publish(store, 1)
    backend.write(f"bundles/{first}/items.faiss", b"")
    with pytest.raises(BundleError, match=r"items.faiss"):
        store.rollback()
    assert store.current() == second


def test_a_failed_publish_leaves_nothing_behind(store: BundleStore, backend: StoreBackend) -> None:
    version = publish(store)
    before = backend.objects()
    contents = make_contents(60, 40, 8, rng=np.random.default_rng(1))
    contents.item_vectors[3, 0] = np.inf
    with pytest.raises(BundleError, match=r"item_vectors.npy: row 3"):
        store.publish(contents)
    assert store.current() == version
    assert backend.objects() == before


@pytest.mark.slow
def test_versions_are_in_the_order_of_publication_with_any_clock(
    store: BundleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    clocks = [noon] * 3 + [noon - timedelta(seconds=90), noon + timedelta(days=700), noon]
    versions = []
    for seed, time in enumerate(clocks):
        clock = type("Clock", (datetime,), {"now": staticmethod(lambda _, time=time: time)})
        monkeypatch.setattr(bundle_contents, "datetime", clock)
        versions.append(publish(store, seed))
    # Later versions do not follow a clock that was far ahead.
    far_ahead = versions.pop(4)
    stamps = [f"20260101T12000{second}Z" for second in range(5)]
    assert [version.partition("-")[0] for version in versions] == stamps
    assert store.versions() == [*versions, far_ahead]


@pytest.mark.slow
def test_the_newest_the_live_and_pinned_bundles_stay(
    store: BundleStore, backend: StoreBackend
) -> None:
    versions = [publish(store, seed) for seed in range(7)]
    assert store.versions() == versions
    store.rollback(versions[2])
    retention.pin(store, versions[0])
    assert [v for v in versions if retention.pinned(store, v)] == [versions[0]]
    old = [versions[1], versions[3], versions[4]]
    assert retention.collect(store, keep=2, dry_run=True) == old
    assert store.versions() == versions
    assert retention.collect(store, keep=2) == old
    kept = [versions[0], versions[2], *versions[5:]]
    assert store.versions() == kept
    for version in kept:
        store.verify(version)
    assert not [name for name in backend.objects() if any(v in name for v in old)]
    retention.unpin(store, versions[0])
    assert retention.collect(store, keep=1) == [versions[0], versions[5]]
    assert store.load().version == versions[2]


def test_pins_of_unknown_versions_and_wrong_options_are_refused(store: BundleStore) -> None:
    version = publish(store)
    for unknown in (MISSING, "../CURRENT", ""):
        with pytest.raises(StoreError, match="has no bundle"):
            retention.pin(store, unknown)
        with pytest.raises(StoreError, match="is not pinned"):
            retention.unpin(store, unknown)
    with pytest.raises(InputError, match="at least 1"):
        retention.collect(store, keep=0)
    assert store.current() == version


@pytest.mark.slow
def test_a_bundle_is_copied_from_a_directory_and_back(
    store: BundleStore, backend: StoreBackend, tmp_path: Path
) -> None:
    other = BundleStore(tmp_path / "other")
    version = publish(other)
    assert store.copy(other) == version == store.current()
    assert store.copy(other, version) == version
    back = BundleStore(tmp_path / "back")
    assert back.copy(store) == version
    assert back.load().version == version
    backend.write(f"bundles/{version}/items.faiss", b"damaged")
    with pytest.raises(BundleError, match=r"items.faiss"):
        BundleStore(tmp_path / "refused").copy(store)
    assert store.copy(other) == version  # which repairs it
    backend.store(tmp_path / "fresh").verify(version)


@pytest.mark.slow
def test_a_damaged_bundle_does_not_keep_others_from_being_collected(
    store: BundleStore, backend: StoreBackend
) -> None:
    versions = [publish(store, seed) for seed in range(3)]
    backend.remove(f"bundles/{versions[0]}/items.faiss")
    assert retention.collect(store, keep=1) == versions[:2]


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("not a directory")
    for use in (BundleStore(path).current, BundleStore(path).versions):
        with pytest.raises(StoreError, match="file"):
            use()
    with pytest.raises(StoreError, match="file"):
        publish(BundleStore(path))


@pytest.mark.parametrize(
    ("root", "meant"),
    [
        ("a/b", Path("a/b")),
        ("file:///a/b", Path("/a/b")),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("gs://bucket", "gs://bucket"),
        (
            "abfs://models@account.dfs.core.windows.net/a",
            "abfs://models@account.dfs.core.windows.net/a",
        ),
    ],
)
def test_paths_and_urls_of_stores(root: str, meant: str | Path) -> None:
    assert BundleStore(root).root == meant


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("s3://KEY:s3cr3t@bucket/a", r"^s3://bucket/a: credentials belong in the environment"),
        ("s3://KEY:s3c/r3t@bucket/a", r"^s3://bucket/a: credentials"),
        ("s3://KEY:s3c@r3t@bucket/a", r"^s3://bucket/a: credentials"),
        ("az://models/a?sig=s3cr3t", r"^az://models/a: credentials"),
        ("az://models/a#s3cr3t", r"^az://models/a: credentials"),
        ("abfs://u:s3cr3t@account/a", r"^abfs://account/a: credentials"),
        (
            "ftp://u:s3cr3t@host/a",
            r"^ftp://host/a: not a store; use a local directory or one of s3://",
        ),
        ("simplecache::s3://bucket/a", "not a store"),
        ("s3://", "the URL has no bucket"),
        ("s3:///a", "the URL has no bucket"),
        ("file://host/a", "the path must be absolute"),
    ],
)
def test_wrong_urls_are_refused_without_their_secrets(root: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        BundleStore(root)
    assert "s3c" not in str(refused.value)
    assert "r3t" not in str(refused.value)
