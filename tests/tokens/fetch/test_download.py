"""One file: what is read, tried again, and refused."""

import hashlib

import pytest

from scdata._errors import AssetsError
from scdata.tokens.published import fetch
from scdata.tokens.published.fetch import download

DATA = bytes(range(256)) * 1000


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_a_file_comes_whole(server):
    pieces = []
    assert download(server.url("/f", DATA), sha256(DATA), len(DATA), pieces.append) == DATA
    assert sum(pieces) == len(DATA)
    assert len(pieces) > 1
    assert server.asked[0][1]["User-Agent"].startswith("scdata/")


def test_a_size_need_not_be_stated_by_either_side(server):
    url = server.url("/f", lambda handler: server.send(handler, DATA, length="none"))
    assert download(url, sha256(DATA), None) == DATA
    assert download(server.url("/g", b""), sha256(b""), 0) == b""


def test_another_checksum_is_refused_and_names_both(server):
    with pytest.raises(AssetsError) as raised:
        download(server.url("/f", DATA[:-1] + b"x"), sha256(DATA), len(DATA))
    assert sha256(DATA) in str(raised.value)
    assert sha256(DATA[:-1] + b"x") in str(raised.value)
    assert len(server.asked) == 1


def test_a_missing_file_is_asked_for_once(server):
    with pytest.raises(AssetsError, match=r"https://127.*/f: the server answers 404 Not Found"):
        download(server.url("/f", 404), sha256(DATA), len(DATA))
    assert len(server.asked) == 1


@pytest.mark.parametrize("trouble", [500, 503, 429, "cut", "hang up"], ids=str)
@pytest.mark.parametrize("times", [1, 3])
def test_what_may_pass_is_tried_again(server, trouble, times):
    done = []
    assert download(server.url("/f", *[trouble] * times, DATA), sha256(DATA), len(DATA), done.append) == DATA
    assert len(server.asked) == times + 1
    assert sum(done) == len(DATA)


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (500, "the server answers 500 Internal Server Error, 4 times"),
        (429, "the server answers 429 Too Many Requests, 4 times"),
        ("cut", r"the connection broke.*, 4 times"),
        ("hang up", r"the connection broke.*, 4 times"),
    ],
    ids=str,
)
def test_after_four_tries_it_is_over(server, trouble, message):
    done = []
    with pytest.raises(AssetsError, match=message):
        download(server.url("/f", trouble), sha256(DATA), len(DATA), done.append)
    assert len(server.asked) == 4
    assert sum(done) == 0


def test_waiting_is_as_long_as_the_server_asks_up_to_a_limit(server, monkeypatch):
    waits = []
    monkeypatch.setattr(fetch.time, "sleep", waits.append)
    monkeypatch.setattr(fetch, "_WAIT", 1.0)

    def busy(seconds):
        return lambda handler: server.send(handler, b"", status=429, Retry_After=seconds)

    url = server.url("/f", busy("7"), busy("86400"), busy("Wed, 21 Oct 2099 07:28:00 GMT"), DATA)
    assert download(url, sha256(DATA), len(DATA)) == DATA
    assert waits == [7.0, 30.0, 4.0]


def test_a_server_that_falls_silent(server, monkeypatch):
    monkeypatch.setattr(fetch, "_TIMEOUT", 0.1)
    monkeypatch.setattr(fetch, "_TRIES", 2)

    def silent(handler):
        server.send(handler, DATA[:10], length=len(DATA))
        handler.wfile.flush()
        server.over.wait()

    with pytest.raises(AssetsError, match=r"the connection broke: .*timed out, 2 times"):
        download(server.url("/f", silent), sha256(DATA), len(DATA))


@pytest.mark.parametrize("length", [None, "none"])
def test_more_than_the_size_is_not_read(server, monkeypatch, length):
    url = server.url("/f", lambda handler: server.send(handler, DATA, length=length))
    done = []
    with pytest.raises(AssetsError, match=r"10,000.*it is another file"):
        download(url, sha256(DATA), 10_000, done.append)
    assert sum(done) <= 10_000 + (1 << 16)
    monkeypatch.setattr(fetch, "LIMIT", 20_000)
    with pytest.raises(AssetsError, match=r"at most 20,000.*it is another file"):
        download(url, sha256(DATA), None)
    assert len(server.asked) == 2


def test_less_than_the_size_is_another_file(server):
    with pytest.raises(AssetsError, match=r"has 9 bytes, expected 256,000: it is another file"):
        download(server.url("/f", b"not found"), sha256(DATA), len(DATA))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server, status):
    server.url("/there", DATA)
    for target in ("/there", f"{server.base}/there"):
        assert download(server.url("/f", server.redirect(target, status)), sha256(DATA), len(DATA)) == DATA


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/f", "ftp://127.0.0.1/f", "file:///etc/passwd"])
def test_no_redirect_leaves_https(server, target):
    with pytest.raises(AssetsError, match=r"only https:// is read|the server answers 302"):
        download(server.url("/f", server.redirect(target)), sha256(DATA), len(DATA))
    assert len(server.asked) == 1


def test_redirects_in_a_circle_end(server):
    server.url("/b", server.redirect("/a"))
    with pytest.raises(AssetsError, match="the server answers 302"):
        download(server.url("/a", server.redirect("/b")), sha256(DATA), len(DATA))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/f", "file:///etc/passwd", "ftp://127.0.0.1/f", "/etc/passwd", "HTTPS:/x"]
)
def test_other_schemes_are_refused(url):
    with pytest.raises(AssetsError, match="only https:// is read"):
        download(url, sha256(DATA), None)


def test_an_unknown_certificate_is_refused(server, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(AssetsError, match=r"no connection: .*certificate verify failed"):
        download(server.url("/f", DATA), sha256(DATA), len(DATA))
    assert server.asked == []


def test_no_connection_is_tried_once(server, closed_port, monkeypatch):
    monkeypatch.setattr(fetch.time, "sleep", lambda _: pytest.fail("it waited"))
    with pytest.raises(AssetsError, match=r"no connection: .*refused"):
        download(f"https://127.0.0.1:{closed_port}/f", sha256(DATA), len(DATA))
