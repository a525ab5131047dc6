"""The part of the Hugging Face Hub's HTTP API that publishing and reading a dataset need, on loopback, for the real client.

Repositories live in memory: branches and tags are names of commits, a commit is a table of paths, large files are kept by
sha256 and answered by redirects to another path, as the Hub's are to its CDN. With a folder for a Xet store (which the client's
library for Xet writes and reads by itself, as it does for tests of its own), large files go there, and the Hub has tokens only.
"""

import base64
import hashlib
import json
import re
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import hf_xet

# what a request becomes: None: answered; a status, or (status, headers); "cut": the connection ends half-way through the
# body; "lost": done, but the answer does not arrive
Fault = Callable[[int, str, str], object]
_LARGE = (".tar", ".parquet", ".arrow")
_PART = 1 << 18  # bytes from which large files come in parts


def sha1(data):
    return hashlib.sha1(data).hexdigest()


@dataclass(frozen=True)
class File:
    """A path's content: bytes in git, or the sha256 of a large file."""

    data: bytes = b""
    lfs: str | None = None
    size: int = 0

    @property
    def oid(self):
        content = f"lfs {self.lfs}".encode() if self.lfs else self.data
        return sha1(b"blob %d\0" % len(content) + content)


@dataclass
class Repo:
    owner: str
    private: bool = False
    gated: bool = False
    commits: dict = field(default_factory=dict)  # sha → path → File
    log: dict = field(default_factory=dict)  # branch → [(sha, summary)], oldest first
    tags: dict = field(default_factory=dict)

    def find(self, revision):
        """The commit of a revision, or None."""
        if revision in self.log:
            return self.log[revision][-1][0]
        return self.tags.get(revision) or (revision if revision in self.commits else None)

    def commit(self, branch, files, summary):
        sha = sha1(json.dumps([branch, len(self.commits), summary]).encode())
        self.commits[sha] = dict(files)
        self.log.setdefault(branch, []).append((sha, summary))
        return sha


class Hub(ThreadingHTTPServer):
    """A Hub with accounts, by token; `fault` says what each request becomes: a function of (its number, method, path)."""

    daemon_threads = True

    def __init__(self, fault: Fault = lambda *_: None, page: int = 7, xet: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fault, self.page = fault, page
        self.store = None if xet is None else f"local://{xet}"
        # sha256 → Xet's hash, which the Hub learns from the store, and we from the test
        self.xet_hash: dict[str, str] = {}
        self.accounts = {"hf_ann": "ann", "hf_bob": "bob"}
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = _Large(self)
        self.parts: dict[tuple[str, int], bytes] = {}
        self.lock, self.n_requests, self.asked = threading.RLock(), 0, []
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        # another host, as the client sees it: it takes the sizes of large files from the redirect, and sends no token there
        self.cdn = f"http://localhost:{self.server_address[1]}/cdn"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def count(self, method, pattern):
        """How many requests there were of a kind."""
        return sum(asked[0] == method and re.search(pattern, asked[1]) is not None for asked in self.asked)

    def files(self, repo_id, revision="main"):
        """path → bytes of a revision."""
        repo = self.repos[repo_id]
        table = repo.commits[repo.find(revision)]
        return {path: self.large[file.lfs] if file.lfs else file.data for path, file in table.items()}

    def close(self):
        self.shutdown()
        self.server_close()


class _Large(dict):
    """sha256 → bytes of large files; those of the Xet store are read there."""

    def __init__(self, hub):
        super().__init__()
        self.hub = hub

    def __missing__(self, oid):
        session = hf_xet.XetSession()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "file")
            with session.new_file_download_group(
                endpoint=self.hub.store, token="token", token_expiry_unix_secs=1 << 40
            ) as group:
                group.start_download_file(hf_xet.XetFileInfo(self.hub.xet_hash[oid]), str(file))
            data = file.read_bytes()
        assert hashlib.sha256(data).hexdigest() == oid
        self[oid] = data
        return data

    def get(self, oid, default=None):
        return self[oid] if oid in self or oid in self.hub.xet_hash else default


class Refused(Exception):
    def __init__(self, status, code=None, message="refused", **headers):
        super().__init__(message)
        self.status, self.headers = status, {"X-Error-Message": message, **headers}
        if code:
            self.headers["X-Error-Code"] = code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # heads and bodies are written apart, and the client would wait for 40 ms
    server: Hub

    def log_message(self, *_):
        pass

    def _serve(self):
        hub, split = self.server, urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(split.query).items()}
        with hub.lock:
            hub.n_requests += 1
            hub.asked.append((self.command, self.path, self.headers.get("Range")))
            fault = hub.fault(hub.n_requests, self.command, self.path)
        length = int(self.headers.get("Content-Length") or 0)
        if fault == "cut" and self.command != "GET":
            self.rfile.read(length // 2)
            self.close_connection = True
            return
        self.body = self._body(length)
        self.fault = fault
        if isinstance(fault, int | tuple):
            status, headers = fault if isinstance(fault, tuple) else (fault, {})
            self._answer(b'{"error": "as asked"}', status, headers)
            return
        try:
            for method, pattern, answer in _ROUTES:
                found = re.fullmatch(pattern, split.path)
                if found and self.command in method:
                    with hub.lock:
                        data, status, headers = answer(self, *map(unquote, found.groups()))
                    break
            else:
                raise Refused(404, message=f"no such route: {self.command} {self.path}")
        except Refused as error:
            data, status, headers = json.dumps({"error": str(error)}).encode(), error.status, error.headers
        if fault == "lost":
            self.close_connection = True
            return
        self._answer(data, status, headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _body(self, length):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(length)
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, data, status, headers):
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if self.fault == "cut" else data)
            self.close_connection = self.close_connection or self.fault == "cut"

    # -- who may do what ----------------------------------------------------

    def _account(self, needed=False):
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme and token not in self.server.accounts:
            raise Refused(401, message="Invalid credentials in Authorization header")
        if needed and not scheme:
            raise Refused(401, message="Invalid username or password.")
        return self.server.accounts.get(token)

    def _repo(self, repo_id, write=False):
        account, repo = self._account(), self.server.repos.get(repo_id)
        if repo is None or (repo.private and account != repo.owner):
            # the Hub does not tell strangers what there is
            raise Refused(404 if account else 401, "RepoNotFound", "Repository not found")
        if write and account is None:
            raise Refused(401, message="Invalid username or password.")
        if write and account != repo.owner:
            raise Refused(403, message="You don't have the rights to push to this repository")
        return repo

    def _at(self, repo_id, revision, write=False):
        repo = self._repo(repo_id, write)
        sha = repo.find(revision)
        if sha is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo, sha

    # -- answers ------------------------------------------------------------

    def whoami(self):
        return _json({"type": "user", "name": self._account(needed=True), "orgs": []})

    def create(self):
        asked, account = json.loads(self.body), self._account(needed=True)
        owner = asked.get("organization") or account
        repo_id = f"{owner}/{asked['name']}"
        url = {"url": f"{self.server.endpoint}/datasets/{repo_id}"}
        if repo_id in self.server.repos:
            return _json({"error": "You already created this dataset repo", **url}, 409)
        if owner != account:
            raise Refused(403, message=f"You don't have the rights to create a dataset under the namespace {owner}")
        repo = self.server.repos[repo_id] = Repo(account, private=asked.get("visibility") == "private")
        repo.commit("main", {".gitattributes": File(b"*.tar filter=lfs\n", size=17)}, "initial commit")
        return _json(url)

    def info(self, repo_id, revision="main"):
        repo, sha = self._at(repo_id, revision)
        siblings = [{"rfilename": path} for path in sorted(repo.commits[sha])]
        return _json({"id": repo_id, "sha": sha, "private": repo.private, "gated": repo.gated, "siblings": siblings})

    def refs(self, repo_id):
        repo = self._repo(repo_id)
        kinds = {"branches": {name: log[-1][0] for name, log in repo.log.items()}, "tags": repo.tags}
        told = {
            kind: [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha} for name, sha in table.items()]
            for kind, table in kinds.items()
        }
        return _json({**told, "converts": []})

    def tree(self, repo_id, revision, folder=""):
        repo, sha = self._at(repo_id, revision)
        table = repo.commits[sha]
        inside = [path for path in sorted(table) if not folder or path.startswith(f"{folder}/")]
        if not inside and folder:
            raise Refused(404, "EntryNotFound", f"{folder} does not exist")
        entries = [_entry(path, table[path]) for path in inside]
        if self.query.get("recursive") != "true":
            depth = folder.count("/") + 1 if folder else 0
            heads = dict.fromkeys("/".join(path.split("/")[: depth + 1]) for path in inside)
            entries = [_entry(path, table.get(path)) for path in heads]
        start = int(self.query.get("cursor", 0))
        headers = {}
        if start + self.server.page < len(entries):
            more = f"{self.server.endpoint}{urlsplit(self.path).path}?recursive={self.query.get('recursive', 'false')}"
            headers["Link"] = f'<{more}&cursor={start + self.server.page}>; rel="next"'
        return _json(entries[start : start + self.server.page], headers=headers)

    def paths_info(self, repo_id, revision):
        repo, sha = self._at(repo_id, revision)
        asked = parse_qs(self.body.decode())["paths"]
        return _json([_entry(path, repo.commits[sha][path]) for path in asked if path in repo.commits[sha]])

    def preupload(self, repo_id, revision):
        repo, sha = self._at(repo_id, revision, write=True)
        told = []
        for file in json.loads(self.body)["files"]:
            there = repo.commits[sha].get(file["path"])
            mode = "lfs" if file["path"].endswith(_LARGE) else "regular"
            oid = None if there is None else there.lfs or there.oid
            told.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return _json({"files": told})

    def batch(self, repo_id):
        self._repo(repo_id, write=True)
        told = []
        for own in json.loads(self.body)["objects"]:
            oid, url = own["oid"], f"{self.server.endpoint}/large/{own['oid']}"
            entry = {"oid": oid, "size": own["size"]}
            if oid not in self.server.large:
                upload = {"href": f"{url}?signature=secret"}
                n = -(-own["size"] // _PART)
                if n > 1:
                    header = {f"{i + 1:05}": f"{url}/part/{i + 1}?signature=secret" for i in range(n)}
                    upload = {"href": f"{url}/complete/{n}", "header": {"chunk_size": str(_PART), **header}}
                verify = {"href": f"{self.server.endpoint}/datasets/{repo_id}.git/info/lfs/verify"}
                entry["actions"] = {"upload": upload, "verify": verify}
            told.append(entry)
        return _json({"transfer": "basic", "objects": told})

    def put(self, oid):
        return self._keep(oid, self.body)

    def put_part(self, oid, number):
        self.server.parts[oid, int(number)] = self.body
        return b"", 200, {"ETag": f'"{sha1(self.body)}"'}

    def complete(self, oid, n):
        return self._keep(oid, b"".join(self.server.parts.pop((oid, i + 1)) for i in range(int(n))))

    def _keep(self, oid, data):
        if hashlib.sha256(data).hexdigest() != oid:
            raise Refused(400, message="the bytes are not those of the sha256")
        self.server.large[oid] = data
        return b"{}", 200, {}

    def verify(self, repo_id):
        asked = json.loads(self.body)
        if len(self.server.large.get(asked["oid"], b"")) != asked["size"]:
            raise Refused(404, message="not uploaded")
        return _json({})

    def commit(self, repo_id, branch):
        repo = self._repo(repo_id, write=True)
        if branch not in repo.log:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {branch}")
        lines = [json.loads(line) for line in self.body.splitlines()]
        head, files = lines[0]["value"], dict(repo.commits[repo.find(branch)])
        if head.get("parentCommit", repo.find(branch)) != repo.find(branch):
            raise Refused(412, message="A commit has happened since. Please refresh and try again.")
        for line in lines[1:]:
            value, path = line["value"], line["value"]["path"]
            if line["key"] == "file":
                data = base64.b64decode(value["content"])
                files[path] = File(data, size=len(data))
            elif line["key"] == "lfsFile":
                if self.server.large.get(value["oid"]) is None:
                    raise Refused(400, message=f"{path}: its large file was not uploaded")
                files[path] = File(lfs=value["oid"], size=len(self.server.large[value["oid"]]))
            elif line["key"] == "deletedFile" and files.pop(path, None) is None:
                raise Refused(404, "EntryNotFound", "A file with this name doesn't exist")
        sha = repo.commit(branch, files, head["summary"])
        return _json(
            {"success": True, "commitOid": sha, "commitUrl": f"{self.server.endpoint}/datasets/{repo_id}/commit/{sha}"}
        )

    def branch(self, repo_id, name):
        repo = self._repo(repo_id, write=True)
        if self.command == "DELETE":
            if name == "main" or repo.log.pop(name, None) is None:
                raise Refused(404 if name != "main" else 403, message=f"cannot delete {name}")
            return _json({})
        if name in repo.log:
            raise Refused(409, message=f"Reference already exists: {name}")
        sha = repo.find(json.loads(self.body or b"{}").get("startingPoint", "main"))
        if sha is None:
            raise Refused(404, "RevisionNotFound", "Invalid rev id")
        repo.log[name] = [(sha, "branch created")]
        return _json({})

    def tag(self, repo_id, revision):
        repo, sha = self._at(repo_id, revision, write=True)
        name = json.loads(self.body)["tag"]
        if name in repo.tags:
            raise Refused(409, message=f"Tag already exists: {name}")
        repo.tags[name] = sha
        return _json({})

    def resolve(self, repo_id, revision, path):
        repo, sha = self._at(repo_id, revision)
        if repo.gated and self._account() != repo.owner:
            raise Refused(403 if self._account() else 401, "GatedRepo", "Access to this dataset is restricted")
        file = repo.commits[sha].get(path)
        if file is None:
            raise Refused(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": sha})
        headers = {"X-Repo-Commit": sha, "ETag": f'"{file.oid}"', "Accept-Ranges": "bytes"}
        if file.lfs is None:
            return self._ranged(file.data, headers)
        if self.server.store is not None:
            token = f"{self.server.endpoint}/api/datasets/{repo_id}/xet-read-token/{sha}"
            headers |= {"X-Xet-Hash": self.server.xet_hash[file.lfs], "Link": f'<{token}>; rel="xet-auth"'}
        headers |= {"X-Linked-Size": str(file.size), "X-Linked-Etag": f'"{file.lfs}"'}
        return b"", 302, {**headers, "Location": f"{self.server.cdn}/{file.lfs}?signature=secret"}

    def xet_token(self, repo_id, kind, revision):
        self._repo(repo_id, write=kind == "write")
        if self.server.store is None:
            raise Refused(404, message="no Xet here")
        until = int(time.time()) + 3600
        table = {"casUrl": self.server.store, "accessToken": "token", "exp": until}
        names = {"casUrl": "X-Xet-Cas-Url", "accessToken": "X-Xet-Access-Token", "exp": "X-Xet-Token-Expiration"}
        return _json(table, headers={names[key]: str(value) for key, value in table.items()})

    def cdn(self, oid):
        if "Authorization" in self.headers:
            raise Refused(400, message="a token was sent to the CDN")
        return self._ranged(self.server.large[oid], {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})

    def _ranged(self, data, headers):
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if found is None:
            return data, 200, headers
        start, stop = int(found[1]), int(found[2] or len(data) - 1) + 1
        if start >= len(data):
            raise Refused(416, message="range not satisfiable", **{"Content-Range": f"bytes */{len(data)}"})
        part = data[start:stop]
        return part, 206, {**headers, "Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(data)}"}

    def validate_yaml(self):
        return _json({"errors": [], "warnings": []})


def _json(table, status=200, headers=None):
    return json.dumps(table).encode(), status, headers or {}


def _entry(path, file):
    if file is None:
        return {"type": "directory", "path": path, "oid": sha1(path.encode()), "size": 0}
    large = {"lfs": {"oid": file.lfs, "size": file.size, "pointerSize": 130}} if file.lfs else {}
    return {"type": "file", "path": path, "oid": file.oid, "size": file.size, **large}


_ID = r"([\w.-]+/[\w.-]+)"
_API = rf"/api/datasets/{_ID}"
_ROUTES = [
    (("GET",), "/api/whoami-v2", _Handler.whoami),
    (("POST",), "/api/repos/create", _Handler.create),
    (("POST",), "/api/validate-yaml", _Handler.validate_yaml),
    (("GET",), _API, _Handler.info),
    (("GET",), rf"{_API}/revision/([^/]+)", _Handler.info),
    (("GET",), rf"{_API}/refs", _Handler.refs),
    (("GET",), rf"{_API}/tree/([^/]+)", _Handler.tree),
    (("GET",), rf"{_API}/tree/([^/]+)/(.+)", _Handler.tree),
    (("POST",), rf"{_API}/paths-info/([^/]+)", _Handler.paths_info),
    (("POST",), rf"{_API}/preupload/([^/]+)", _Handler.preupload),
    (("POST",), rf"{_API}/commit/([^/]+)", _Handler.commit),
    (("POST", "DELETE"), rf"{_API}/branch/([^/]+)", _Handler.branch),
    (("POST",), rf"{_API}/tag/([^/]+)", _Handler.tag),
    (("GET",), rf"{_API}/xet-(read|write)-token/([^/]+)", _Handler.xet_token),
    (("POST",), rf"/datasets/{_ID}[.]git/info/lfs/objects/batch", _Handler.batch),
    (("POST",), rf"/datasets/{_ID}[.]git/info/lfs/verify", _Handler.verify),
    (("PUT",), "/large/([0-9a-f]{64})", _Handler.put),
    (("PUT",), r"/large/([0-9a-f]{64})/part/(\d+)", _Handler.put_part),
    (("POST",), r"/large/([0-9a-f]{64})/complete/(\d+)", _Handler.complete),
    (("GET", "HEAD"), rf"/datasets/{_ID}/resolve/([^/]+)/(.+)", _Handler.resolve),
    (("GET", "HEAD"), "/cdn/([0-9a-f]{64})", _Handler.cdn),
]
