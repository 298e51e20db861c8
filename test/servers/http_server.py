#!/usr/bin/env python3
"""A real HTTP server that misbehaves on command.

    http_server.py --port 0 --port-file FILE [--cert FILE --key FILE]

Port 0 takes a free one; the number goes to the port file when it listens.

Data: /page /offset /cursor /next_url /link /search (POST) /plain give records
{"id": 1, "name": "item 1", "updated_at": "2024-01-01T00:00:01Z"} up to the
configured number, as {"data": {"items": [...]}, "meta": {...}}; /plain is a
bare array.  ?since= filters on updated_at (at or after), ?after= on id (greater).

Control (never logged):
    POST /_config   {"records": 25, "delay": seconds before each page,
                     "auth": {"type": "bearer", "token": "t"}, …}
    POST /_rules    a list of rules, tried in order by each request:
        {"path": "/page", "query": "page=2", "times": 2, "do": …}
        do: status (status, headers, body) | drop | reset | hold | drip (seconds)
            | redirect (location, status) | garbage | bomb (megabytes) | huge
            (megabytes) | gzip | same (as page 1) | loop | link (value)
    POST /_release  ends every hold
    POST /_expire   makes every token given so far invalid
    GET  /_log      requests so far; /_held: how many are held
    POST /_reset    forgets everything
"""
import argparse
import base64
import gzip
import json
import os
import socket
import ssl
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit


class State:
    """What the server was told, and what it saw."""

    def __init__(self):
        self.lock = threading.Lock()
        self.made = []
        self.reset()

    def reset(self):
        self.records = 25
        self.delay = 0
        self.auth = None
        self.token_in = "header"
        self.tokens = 0
        self.valid_from = 1
        self.rules = []
        self.log = []
        self.held = 0
        self.release = threading.Event()

    def all_records(self):
        """The records there are: made once, since a long pull asks for a thousand pages of them."""
        if len(self.made) < self.records:
            self.made = [record(n) for n in range(1, self.records + 1)]
        return self.made[:self.records]

    def rule_for(self, path, query):
        with self.lock:
            for rule in self.rules:
                if not path.startswith(rule.get("path", "")) or rule.get("query", "") not in query:
                    continue
                if rule.get("times", 1) == 0:
                    continue
                if "times" in rule or rule["do"] not in ("gzip", "same", "loop"):
                    rule["times"] = rule.get("times", 1) - 1
                return rule
        return None


STATE = State()


def record(number):
    minutes, seconds = divmod(number, 60)
    return {"id": number, "name": f"item {number}",
            "updated_at": f"2024-01-01T{minutes // 60:02}:{minutes % 60:02}:{seconds:02}Z"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    # ---- answering ----

    def answer(self, body, status=200, headers=None, kind="application/json"):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode() if not isinstance(body, str) else body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def kill_connection(self, hard):
        if hard:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.connection.close()

    # ---- misbehaving ----

    def misbehave(self, rule, body, headers):
        """Returns True when the answer was given here."""
        what = rule["do"]
        if what == "status":
            self.answer(rule.get("body", "sorry"), rule["status"], rule.get("headers"), "text/plain")
        elif what == "redirect":
            self.answer("", rule.get("status", 302), {"Location": rule["location"]})
        elif what == "drop":
            whole = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(whole)))
            self.end_headers()
            self.wfile.write(whole[:len(whole) // 2])
            self.wfile.flush()
            self.kill_connection(False)
        elif what == "reset":
            self.kill_connection(True)
        elif what == "hold":
            with STATE.lock:
                STATE.held += 1
            # who ends the hold, or forgets everything, also counts anew
            if not STATE.release.wait(60):
                with STATE.lock:
                    STATE.held -= 1
            return False
        elif what == "drip":
            whole = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(whole)))
            self.end_headers()
            pause = rule.get("seconds", 1) / max(len(whole), 1)
            for i in range(len(whole)):
                self.wfile.write(whole[i:i + 1])
                self.wfile.flush()
                time.sleep(pause)
        elif what == "garbage":
            self.answer(b'{"data": {"items": [{"id": 1}, ')
        elif what == "huge":
            size = rule.get("megabytes", 100) * 1024 * 1024
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            chunk = b"[" + b" " * 65535
            for _ in range(size // len(chunk)):
                self.wfile.write(chunk)
        elif what == "bomb":
            packed = gzip.compress(b" " * rule.get("megabytes", 100) * 1024 * 1024)
            self.answer(packed, headers={"Content-Encoding": "gzip"})
        elif what == "gzip":
            self.answer(gzip.compress(json.dumps(body).encode()), headers=dict(headers, **{"Content-Encoding": "gzip"}))
        elif what == "link":
            self.answer(body, headers={"Link": rule["value"]})
        else:
            return False
        return True

    # ---- credentials ----

    def authorized(self, query):
        auth = STATE.auth
        if not auth:
            return True
        given = self.headers.get("Authorization", "")
        if auth["type"] == "bearer":
            return given == "Bearer " + auth["token"]
        if auth["type"] == "basic":
            return given == "Basic " + base64.b64encode(f"{auth['user']}:{auth['password']}".encode()).decode()
        if auth["type"] == "api_key":
            if auth.get("in") == "query":
                return query.get(auth["name"]) == [auth["value"]]
            return self.headers.get(auth["name"]) == auth["value"]
        if auth["type"] == "oauth2":
            number = given.removeprefix("Bearer token-")
            return number.isdigit() and STATE.valid_from <= int(number) <= STATE.tokens
        return False

    def give_token(self, body):
        form = parse_qs(body)
        client, secret = form.get("client_id", [""])[0], form.get("client_secret", [""])[0]
        given = self.headers.get("Authorization", "")
        if STATE.token_in == "header":
            client, secret = "", ""
            if given.startswith("Basic "):
                # RFC 6749 2.3.1: both are form-encoded before they become Basic credentials
                client, _, secret = map(unquote_plus, base64.b64decode(given[6:]).decode().partition(":"))
        if (client, secret) != ("the client", "oauth secret-79") or form.get("grant_type") != ["client_credentials"]:
            self.answer({"error": "invalid_client"}, 401)
            return
        with STATE.lock:
            STATE.tokens += 1
            number = STATE.tokens
        self.answer({"access_token": f"token-{number}", "token_type": "Bearer", "expires_in": 3600})

    # ---- data ----

    def data(self, path, query, body):
        """Returns the document and header fields of a page."""
        def number(name, default):
            return int(query.get(name, [default])[0])

        base = f"{'https' if ARGS.cert else 'http'}://{self.headers.get('Host')}"
        records = STATE.all_records()
        since = query.get("since", [body.get("since") if isinstance(body, dict) else None])[0]
        if since:
            records = [r for r in records if r["updated_at"] >= since]
        if "after" in query:
            records = records[int(query["after"][0]):]
        meta, headers = {"total": len(records)}, {}
        if path == "/page":
            size, page = number("per_page", 10), number("page", 1)
            items = records[(page - 1) * size:page * size]
        elif path == "/offset":
            offset = number("offset", 0)
            items = records[offset:offset + number("limit", 10)]
        elif path in ("/cursor", "/search"):
            cursor = query.get("cursor", [None])[0] if path == "/cursor" else body.get("cursor")
            start = int(base64.b64decode(cursor)) if cursor else 0
            items = records[start:start + 10]
            more = start + 10 < len(records)
            meta["next"] = base64.b64encode(str(start + 10).encode()).decode() if more else None
        elif path in ("/next_url", "/link"):
            page = number("page", 1)
            items = records[(page - 1) * 10:page * 10]
            if page * 10 < len(records):
                again = dict({k: v[0] for k, v in query.items()}, page=page + 1)
                reference = f"{path}?{urlencode(again)}"
                if path == "/link":
                    headers["Link"] = f'<{base}/link?page=1>; rel="first", <{reference}>; rel="next"'
                else:
                    meta["next"] = base + reference
        elif path == "/plain":
            return records, {}
        elif path == "/ndjson":
            return "".join(json.dumps(r) + "\n" for r in records), {}
        else:
            return None, {}
        return {"data": {"items": items}, "meta": meta}, headers

    # ---- control ----

    def control(self, path, body):
        if path == "/_config":
            for name, value in json.loads(body).items():
                setattr(STATE, name, value)
        elif path == "/_rules":
            with STATE.lock:
                STATE.rules = json.loads(body)
        elif path == "/_release":
            STATE.release.set()
            STATE.release = threading.Event()
            STATE.held = 0
        elif path == "/_expire":
            STATE.valid_from = STATE.tokens + 1
        elif path == "/_reset":
            STATE.release.set()
            STATE.reset()
        elif path == "/_log":
            self.answer(STATE.log)
            return
        elif path == "/_held":
            self.answer(str(STATE.held))
            return
        self.answer({})

    def handle_request(self):
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode() if length else ""
        if parts.path.startswith("/_"):
            self.control(parts.path, body)
            return
        with STATE.lock:
            STATE.log.append({"method": self.command, "path": parts.path, "query": parts.query,
                              "headers": dict(self.headers), "body": body, "time": time.time()})
        query = parse_qs(parts.query)
        if parts.path == "/token":
            self.give_token(body)
            return
        if not self.authorized(query):
            self.answer("who are you? " + self.headers.get("Authorization", ""), 401, kind="text/plain")
            return
        posted = json.loads(body) if body.startswith("{") else {}
        time.sleep(STATE.delay)
        rule = STATE.rule_for(parts.path, parts.query)
        if rule and rule["do"] == "same":
            query.pop("page", None)
            query.pop("offset", None)
        document, headers = self.data(parts.path, query, posted)
        if rule and rule["do"] == "loop":
            document["meta"]["next"] = rule["next"]
        if rule and self.misbehave(rule, document, headers):
            return
        if document is None:
            self.answer("no such thing", 404, kind="text/plain")
        else:
            self.answer(document, headers=headers)

    def do_GET(self):
        try:
            self.handle_request()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_POST = do_GET


class Server(ThreadingHTTPServer):
    """A client that goes away is no error, whether it shows while reading, answering or flushing."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def main():
    server = Server((ARGS.host, ARGS.port), Handler)
    if ARGS.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(ARGS.cert, ARGS.key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    if ARGS.port_file:
        with open(ARGS.port_file + ".new", "w") as file:
            file.write(str(server.server_address[1]))
        os.rename(ARGS.port_file + ".new", ARGS.port_file)
    server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    ARGS = parser.parse_args()
    main()
