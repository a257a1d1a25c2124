"""What holds for every store: a directory, fsspec's memory and local file system, S3."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from bundle_builders import make_contents, publish
from fsspec.implementations.local import LocalFileSystem
from object_stores import ObjectPlace, no_settling

from bundle import contents as bundle_contents
from bundle import retention
from bundle.errors import BundleError, InputError, StoreError
from bundle.store import BundleStore

MISSING = "20200101T000000Z-deadbeef"


@pytest.fixture(params=["directory", "memory", "local", "s3"])
def place(request, tmp_path, monkeypatch) -> ObjectPlace:
    no_settling(monkeypatch)
    if request.param == "directory":
        root = str(tmp_path / "store")
        return ObjectPlace(root, LocalFileSystem(auto_mkdir=True), root, tmp_path / "cache")
    return request.getfixturevalue(f"{request.param}_place")


@pytest.fixture
def store(place) -> BundleStore:
    return place.store()


def test_what_was_published_is_what_is_loaded(store, place, tmp_path):
    contents = make_contents(60, 40, 8, rng=np.random.default_rng(0))
    version = store.publish(contents)
    for reader in (store, place.store(tmp_path / "another-cache")):
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


def test_an_empty_store_and_unknown_versions_say_so(store):
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
def test_a_pointer_to_nothing_is_refused_and_can_be_mended(store, place, pointer):
    version = publish(store)
    place.write("CURRENT", pointer)
    for use in (store.current, store.load, lambda: retention.collect(store, keep=1)):
        with pytest.raises(StoreError, match=r"CURRENT names .* which is not there"):
            use()
    assert store.versions() == [version]
    assert store.rollback(version) == version == store.current()


def test_rollback_goes_to_the_parent_or_to_a_given_version(store):
    first, second, third = (publish(store, seed) for seed in range(3))
    assert store.rollback() == second == store.current()
    assert store.rollback() == first
    assert store.rollback(third) == third == store.current()


def test_rollback_to_a_damaged_bundle_changes_nothing(store, place):
    first, second = publish(store, 0), publish(store, 1)
    place.write(f"bundles/{first}/items.faiss", b"")
    with pytest.raises(BundleError, match=r"items.faiss"):
        store.rollback()
    assert store.current() == second


def test_a_failed_publish_leaves_nothing_behind(store, place):
    version = publish(store)
    before = place.objects()
    contents = make_contents(60, 40, 8, rng=np.random.default_rng(1))
    contents.item_vectors[3, 0] = np.inf
    with pytest.raises(BundleError, match=r"item_vectors.npy: row 3"):
        store.publish(contents)
    assert store.current() == version
    assert place.objects() == before


def test_versions_are_in_the_order_of_publishing_whatever_clocks_say(store, monkeypatch):
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    clocks = [noon] * 3 + [noon - timedelta(seconds=90), noon + timedelta(days=700), noon]
    versions = []
    for seed, time in enumerate(clocks):
        clock = type("Clock", (datetime,), {"now": staticmethod(lambda _, time=time: time)})
        monkeypatch.setattr(bundle_contents, "datetime", clock)
        versions.append(publish(store, seed))
    # A clock that was far ahead is not followed by those that come after.
    far_ahead = versions.pop(4)
    stamps = [f"20260101T12000{second}Z" for second in range(5)]
    assert [version.partition("-")[0] for version in versions] == stamps
    assert store.versions() == [*versions, far_ahead]


def test_the_newest_the_live_and_pinned_bundles_stay(store, place):
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
    assert not [name for name in place.objects() if any(v in name for v in old)]
    retention.unpin(store, versions[0])
    assert retention.collect(store, keep=1) == [versions[0], versions[5]]
    assert store.load().version == versions[2]


def test_pins_of_what_is_not_there_and_senseless_wishes_are_refused(store):
    version = publish(store)
    for unknown in (MISSING, "../CURRENT", ""):
        with pytest.raises(StoreError, match="has no bundle"):
            retention.pin(store, unknown)
        with pytest.raises(StoreError, match="is not pinned"):
            retention.unpin(store, unknown)
    with pytest.raises(InputError, match="at least 1"):
        retention.collect(store, keep=0)
    assert store.current() == version


def test_a_bundle_is_copied_from_a_directory_and_back(store, place, tmp_path):
    other = BundleStore(tmp_path / "other")
    version = publish(other)
    assert store.copy(other) == version == store.current()
    assert store.copy(other, version) == version
    back = BundleStore(tmp_path / "back")
    assert back.copy(store) == version
    assert back.load().version == version
    place.write(f"bundles/{version}/items.faiss", b"damaged")
    with pytest.raises(BundleError, match=r"items.faiss"):
        BundleStore(tmp_path / "refused").copy(store)
    assert store.copy(other) == version  # which mends it
    place.store(tmp_path / "fresh").verify(version)


def test_a_damaged_bundle_does_not_keep_others_from_being_collected(store, place):
    versions = [publish(store, seed) for seed in range(3)]
    place.remove(f"bundles/{versions[0]}/items.faiss")
    assert retention.collect(store, keep=1) == versions[:2]


def test_a_root_that_is_a_file(tmp_path):
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
def test_what_names_a_store(root, meant):
    assert BundleStore(root).root == meant


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("s3://KEY:s3cr3t@bucket/a", r"^s3://bucket/a: credentials belong into the environment"),
        ("s3://KEY:s3c/r3t@bucket/a", r"^s3://bucket/a: credentials"),
        ("s3://KEY:s3c@r3t@bucket/a", r"^s3://bucket/a: credentials"),
        ("az://models/a?sig=s3cr3t", r"^az://models/a: credentials"),
        ("az://models/a#s3cr3t", r"^az://models/a: credentials"),
        ("abfs://u:s3cr3t@account/a", r"^abfs://account/a: credentials"),
        ("ftp://u:s3cr3t@host/a", r"^ftp://host/a: a store is a local directory or one of s3://"),
        ("simplecache::s3://bucket/a", "a store is"),
        ("s3://", "names no bucket"),
        ("s3:///a", "names no bucket"),
        ("file://host/a", "must be absolute"),
    ],
)
def test_urls_that_name_no_store_are_refused_without_their_secrets(root, message):
    with pytest.raises(InputError, match=message) as refused:
        BundleStore(root)
    assert "s3c" not in str(refused.value)
    assert "r3t" not in str(refused.value)
