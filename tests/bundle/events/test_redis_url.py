"""URLs that a client of Redis cannot work with are refused by one sentence."""

import ssl
from pathlib import Path

import pytest

from bundle.errors import InputError
from bundle.events.redis_url import check_one_address, check_redis_url, split_addresses

SECRET = "s3cr3t"
REFUSED = {
    "redis://h/abc": "must end after the host, or with the number of a database",
    "redis://h/0/1": "must end after the host",
    "redis://h/-1": "must end after the host",
    "redis://h/1?db=2": "names two databases",
    "redis://h?db=1&db=1": "has db twice",
    "redis://h?db=x": "has a value of db that cannot be used",
    "redis://h?db=": "has a value of db that cannot be used",
    "redis://h?decode_responses=True": "'decode_responses'",
    "redis://h?timeout=5": "'timeout'",
    "redis://h?socket_timeout=5": "'socket_timeout'",
    "redis://h?max_connections=1": "'max_connections'",
    "redis://h?protocol=3": "'protocol'",
    "redis://h?encoding=latin1": "'encoding'",
    "redis://h?DB=1": "'DB'",
    "redis://h?ssl_cert_reqs=none": "has ssl_cert_reqs, which needs rediss://",
    "rediss://h?ssl_cert_reqs=CERT_NONE": "has a value of ssl_cert_reqs",
    "rediss://h?ssl_check_hostname=maybe": "has a value of ssl_check_hostname",
    "rediss://h?ssl_ca_certs=/no/such.pem": "(ssl_ca_certs: No such file",
    "rediss://h?ssl_certfile=/no/such.pem": "(ssl_certfile: No such file",
    "rediss://h?ssl_ciphers=NONSENSE": "cannot be used",
    "unix://": "names no socket",
    "unix:///run/redis.sock?socket_keepalive=1": "which a Unix socket has not",
    "redis://": "is no URL of a Redis",
    "redis://h:0": "is no URL",
    "redis://h:port": "is no URL",
    "redis://[::1": "is no URL",
    "redis://a,,b": "is no URL",
    "redis://a,b:0": "is no URL",
    "redis://a,b:port": "is no URL",
    f"redis://:{SECRET}/x@h": "percent-encoded",
    f"redis://:{SECRET}#x@h": "percent-encoded",
    f"http://:{SECRET}@h": "must begin with",
    "": "must begin with",
}


@pytest.mark.parametrize("url", REFUSED)
def test_what_is_refused(url: str) -> None:
    with pytest.raises(InputError) as refused:
        check_redis_url(url)
    assert REFUSED[url] in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h/",
        "redis://user:p%40ss@h:6380/3",
        "redis://[::1]:6379/0?client_name=shop&health_check_interval=30&socket_keepalive=yes",
        "redis://h?db=3&password=x&username=y",
        "rediss://h?ssl_cert_reqs=none&ssl_check_hostname=False&ssl_min_version=771",
        "redis://user:p%40ss@a:6379,b,[::1]:6381/0",
        "unix:///run/redis.sock?db=1",
        "unix://user:pw@/run/redis.sock",
    ],
)
def test_what_a_client_takes(url: str) -> None:
    check_redis_url(url)


def test_what_clusters_and_sentinels_do_not_take() -> None:
    for url in ("redis://h/1", "redis://h?db=1"):
        check_redis_url(url, sentinel=True)
        with pytest.raises(InputError, match="only 0"):
            check_redis_url(url, cluster=True)
    check_redis_url("redis://h/0", cluster=True)
    with pytest.raises(InputError, match="'ssl_ca_path'"):
        check_redis_url("rediss://h?ssl_ca_path=/etc/ssl/certs", cluster=True)
    for kind in ({"cluster": True}, {"sentinel": True}):
        with pytest.raises(InputError, match="Unix socket"):
            check_redis_url("unix:///run/redis.sock", **kind)


def test_several_addresses_are_split() -> None:
    login = "user:p%40s%2Cs@"
    url, addresses = split_addresses(f"rediss://{login}a:1,b,[::1]:3/0?client_name=x,y", 7)
    assert url == f"rediss://{login}a:1/0?client_name=x,y"
    assert addresses == [("a", 1), ("b", 7), ("::1", 3)]
    assert split_addresses("redis://h") == ("redis://h", [("h", 6379)])


def test_a_single_server_has_one_address() -> None:
    for url in ("redis://h", "redis://user:a,b@h:1/0", "unix:///run/a,b"):
        check_one_address(url)
    with pytest.raises(InputError, match="names several addresses"):
        check_one_address("redis://a,b")


def test_files_of_certificates_are_read(tmp_path: Path) -> None:
    known = ssl.get_default_verify_paths().cafile
    if known is not None:
        check_redis_url(f"rediss://h?ssl_ca_certs={known}")
    file = tmp_path / "ca.pem"
    for content in ("", "no certificate"):
        file.write_text(content)
        for option in ("ssl_ca_certs", "ssl_certfile"):
            with pytest.raises(InputError, match=f"certificates that cannot be used .{option}"):
                check_redis_url(f"rediss://h?{option}={file}")
