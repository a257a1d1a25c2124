"""Bulk recommendations: their files, shards, resumption and errors."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bundle.errors import InputError
from bundle.format.reader import Bundle
from bundle.search.options import OptionError, RankingOptions
from bundle.search.recommender import Recommender
from bundle.store.store import BundleStore
from tests.support.data.bundles import make_contents
from tests.support.running.object_stores import StoreBackend
from training.bulk import recommendations
from training.bulk.recommendations import SCHEMA, BulkRecommender, Made, Shard
from training.bulk.users import read_users

WHOLE = Shard(0, 1)
PLAIN = RankingOptions()
K = 7


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recommendations, "BLOCK_USERS", 30)
    monkeypatch.setattr(recommendations, "TOGETHER", 8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    store = BundleStore(tmp_path_factory.mktemp("store"))
    store.publish(make_contents(100, 60, 8, rng=np.random.default_rng(3)))
    return store.load()


def write(
    bundle: Bundle,
    out: Path,
    users: pa.StringArray | None = None,
    options: RankingOptions = PLAIN,
    shard: Shard = WHOLE,
    k: int = K,
) -> Made:
    return BulkRecommender(bundle, users, options, k, 2).write(BundleStore(out).storage, shard)


def table_of(out: Path) -> pa.Table:
    return pq.read_table(out / "blocks", schema=SCHEMA)


def by_user(out: Path) -> dict[str, list[tuple[str, float, int, str]]]:
    table = table_of(out)
    found: dict[str, list[tuple[str, float, int, str]]] = {}
    for user_id, *row in zip(
        *(table[name].to_pylist() for name in table.column_names[:5]), strict=True
    ):
        found.setdefault(user_id, []).append(tuple(row))
    return found


def test_all_users_have_what_a_search_returns(bundle: Bundle, tmp_path: Path) -> None:
    made = write(bundle, tmp_path)
    assert made == Made(users=100, popular=10, present=4, blocks=4)
    table = table_of(tmp_path)
    assert set(table["bundle_version"].to_pylist()) == {bundle.version}
    recommender = Recommender(bundle)
    for user_id, rows in by_user(tmp_path).items():
        row = bundle.users.get(user_id)
        assert row is not None
        seen = bundle.seen.row(row)
        (top,) = recommender.recommend(np.array([row], np.int32), K, [seen])
        items, scores, ranks, sources = zip(*rows, strict=True)
        assert list(items) == [bundle.items[i] for i in top.item_idx.tolist()]
        assert scores == pytest.approx(top.scores.tolist(), abs=1e-6)
        assert ranks == tuple(range(1, len(rows) + 1))
        has_vector = bundle.user_vectors[row].any()
        assert set(sources) == {"known_user" if has_vector else "popular"}
    # Users who have seen all items but three get three.
    assert len(by_user(tmp_path)["user-0"]) == 3


@pytest.mark.parametrize(
    "options",
    [
        RankingOptions(diversity=0.5),
        RankingOptions(weights="image:2"),
        RankingOptions(exclude_seen=False),
    ],
)
def test_options_apply(bundle: Bundle, tmp_path: Path, options: RankingOptions) -> None:
    write(bundle, tmp_path / "plain")
    write(bundle, tmp_path / "with", options=options)
    plain, found = by_user(tmp_path / "plain"), by_user(tmp_path / "with")
    assert plain["user-5"] != found["user-5"]
    if options.exclude_seen:
        row = bundle.users.get("user-5")
        assert row is not None
        seen = {bundle.items[i] for i in bundle.seen.row(row).tolist()}
        assert not seen & {item for item, *_ in found["user-5"]}


def test_users_of_a_file_are_in_its_order_and_unknown_ones_get_popular_items(
    bundle: Bundle, tmp_path: Path
) -> None:
    wanted = ["user-50", "nobody", *(f"user-{n}" for n in range(40))]
    made = write(bundle, tmp_path, pa.array(wanted))
    assert made == Made(users=42, popular=1, present=2, blocks=2)
    found = by_user(tmp_path)
    assert list(found) == wanted
    assert {source for *_, source in found["nobody"]} == {"popular"}
    best = np.argsort(-bundle.popularity, kind="stable")[:K]
    assert [item for item, *_ in found["nobody"]] == [bundle.items[i] for i in best.tolist()]


def test_shards_make_the_same_files_as_one_process(bundle: Bundle, tmp_path: Path) -> None:
    write(bundle, tmp_path / "one")
    first = write(bundle, tmp_path / "three", shard=Shard(1, 3))
    assert (first.users, first.present, first.blocks) == (30, 1, 4)
    write(bundle, tmp_path / "three", shard=Shard(0, 3))
    last = write(bundle, tmp_path / "three", shard=Shard(2, 3))
    assert last.present == last.blocks == 4
    names = sorted(path.name for path in (tmp_path / "one/blocks").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "three/blocks").iterdir())
    for name in names:
        one, three = (tmp_path / folder / "blocks" / name for folder in ("one", "three"))
        assert one.read_bytes() == three.read_bytes()


def test_an_interrupted_run_makes_what_is_missing(bundle: Bundle, tmp_path: Path) -> None:
    write(bundle, tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "blocks").iterdir()}
    whole = (tmp_path / "blocks/000002.parquet").read_bytes()
    (tmp_path / "blocks/000002.parquet").unlink()
    made = write(bundle, tmp_path)
    assert (made.users, made.present) == (30, 4)
    assert (tmp_path / "blocks/000002.parquet").read_bytes() == whole
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "blocks").iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"000002.parquet"}


def test_another_run_in_the_same_folder_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    write(bundle, tmp_path)
    with pytest.raises(InputError, match=r"of another run \(k: 7, now 8\); choose another folder"):
        write(bundle, tmp_path, k=8)
    with pytest.raises(InputError, match="of another run"):
        write(bundle, tmp_path, pa.array(["user-1"]))
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(InputError, match=r"run\.json is not that of bulk recommendations"):
        write(bundle, tmp_path)
    (tmp_path / "run.json").unlink()
    with pytest.raises(InputError, match=r"has a folder blocks without run\.json"):
        write(bundle, tmp_path)


def test_an_object_store_gets_the_same_files(
    bundle: Bundle, s3_backend: StoreBackend, tmp_path: Path
) -> None:
    write(bundle, tmp_path)
    out = BundleStore(s3_backend.url, s3_backend.cache).storage
    made = [BulkRecommender(bundle, None, PLAIN, K, 1).write(out, Shard(n, 2)) for n in (0, 1)]
    assert [each.users for each in made] == [60, 40]
    for path in (tmp_path / "blocks").iterdir():
        assert out.read(f"blocks/{path.name}") == path.read_bytes()
    again = BulkRecommender(bundle, None, PLAIN, K, 1).write(out, WHOLE)
    assert (again.users, again.present) == (0, 4)


def test_options_that_do_not_fit_are_refused_before_anything_is_written(
    bundle: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="weights"):
        write(bundle, tmp_path / "out", options=RankingOptions(weights="sound:2"))
    assert not (tmp_path / "out").exists()


def test_a_file_of_users_is_read_or_says_what_is_wrong(tmp_path: Path) -> None:
    good = tmp_path / "users.csv"
    good.write_text("name,user_id\nA,7\nB,x y\n")
    assert read_users(good).to_pylist() == ["7", "x y"]
    pq.write_table(pa.table({"user_id": [3, 1]}), tmp_path / "users.parquet")
    assert read_users(tmp_path / "users.parquet").to_pylist() == ["3", "1"]
    for content, what in (
        ("user_id\na\nb\na\n", "line 4, column 'user_id': 'a' occurs twice"),
        ("user_id,x\na,1\n,2\n", "line 3, column 'user_id': the id is empty"),
        ("user\na\n", "column 'user_id': is missing"),
        ("", "empty"),
    ):
        bad = tmp_path / "bad.csv"
        bad.write_text(content)
        with pytest.raises(InputError, match=what):
            read_users(bad)
    with pytest.raises(InputError, match=r"must end in one of \.parquet, \.csv, \.jsonl"):
        read_users(tmp_path / "users.txt")
    with pytest.raises(InputError, match="there is no such file"):
        read_users(tmp_path / "none.csv")
