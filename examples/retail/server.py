#!/usr/bin/env python3
"""server.py serves the retail example's products over HTTP, and is no easy host.

    server.py DIRECTORY --token-file FILE [--port N] [--seed N]

DIRECTORY is what generate.py made.  The file DIRECTORY/today holds the number
of the day that the server lives in (1 when it is absent).  The port chosen is
written to DIRECTORY/server.port when the server accepts connections.

    GET /products?page=1&per_page=100&updated_since=2024-03-02T00:00:00Z
    Authorization: Bearer (what FILE says)
    -> {"page": 1, "pages": 100, "products": [...]}

 - without the token: 401
 - more requests within a second than the limit allows: 429, Retry-After: 1
 - the first request for one page in fifty of each day's listing: 500
 - the first request for one page of each day's listing: the connection is
   dropped in the middle of the body
Which pages those are depends on the seed alone.
"""
import argparse
import datetime
import json
import os
import random
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Catalogue:
    """The products as of a day, in a fixed order."""

    def __init__(self, directory, seed):
        self.directory, self.seed = directory, seed
        self.day, self.listing, self.newest = 0, [], {}
        self.lock = threading.Lock()

    def today(self):
        try:
            with open(f'{self.directory}/today', encoding='ascii') as file:
                return int(file.read())
        except FileNotFoundError:
            return 1

    def learn(self):
        """Takes in what became known up to today."""
        today = self.today()
        while self.day < today:
            self.day += 1
            known = set(self.newest)
            with open(f'{self.directory}/products/day-{self.day}.ndjson', encoding='utf-8') as file:
                for line in file:
                    record = json.loads(line)
                    if record['product_id'] not in known:
                        self.listing.append(record['product_id'])
                    self.newest[record['product_id']] = record
            self.plan()

    def plan(self):
        """Chooses the pages that will fail once on this day, and the rate that is allowed."""
        with open(f'{self.directory}/products/day-{self.day}.ndjson', encoding='utf-8') as file:
            pages = max(1, -(-sum(1 for _ in file) // 100))
        choice = random.Random(f'{self.seed}/server/{self.day}')
        trouble = choice.sample(range(1, pages + 1), min(pages, max(1, round(pages / 50)) + 1))
        self.dropped, self.failing = {trouble[0]}, set(trouble[1:])
        self.allowed = max(3, pages * 6 // 10)
        self.requests = []
        self.chosen = {}                # since → records, kept for the pages to come

    def refuse(self):
        """True when a request now would exceed the limit of a second."""
        now = time.monotonic()
        self.requests = [one for one in self.requests if now - one < 1]
        if len(self.requests) >= self.allowed:
            return True
        self.requests.append(now)
        return False

    def page(self, number, size, since):
        if since not in self.chosen:
            records = [self.newest[key] for key in self.listing]
            self.chosen[since] = [one for one in records if not since or moment(one['updated_at']) > since]
        chosen = self.chosen[since]
        return (chosen[(number - 1) * size:number * size], -(-len(chosen) // size))


def moment(text):
    """A time as ISO 8601 text; without a zone it is UTC.  An unescaped + came as a space."""
    value = datetime.datetime.fromisoformat(text.replace(' ', '+') if 'T' in text else text)
    return value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    catalogue = token = None

    def log_message(self, *arguments):
        pass

    def answer(self, status, document, headers=()):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def drop(self, document):
        """Promises a body, sends half of it and hangs up."""
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body[:len(body) // 2])
        self.close_connection = True

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path != '/products':
            return self.answer(404, {'error': 'there is only /products'})
        if self.headers.get('Authorization') != f'Bearer {self.token}':
            return self.answer(401, {'error': 'a bearer token is needed'})
        try:
            number, size = int(query.get('page', 1)), min(int(query.get('per_page', 100)), 100)
            since = moment(query['updated_since']) if query.get('updated_since') else None
            if number < 1 or size < 1:
                raise ValueError('page and per_page start at 1')
        except ValueError as problem:
            return self.answer(400, {'error': str(problem)})

        catalogue = self.catalogue
        with catalogue.lock:
            catalogue.learn()
            if catalogue.refuse():
                return self.answer(429, {'error': 'too many requests'}, [('Retry-After', '1')])
            products, pages = catalogue.page(number, size, since)
            # Only a listing that has something to tell may fail on the way.
            fails = products and number in catalogue.failing
            drops = products and number in catalogue.dropped
            catalogue.failing.discard(number if fails else None)
            catalogue.dropped.discard(number if drops else None)
        document = {'page': number, 'pages': pages, 'products': products}
        if fails:
            return self.answer(500, {'error': 'something went wrong'})
        if drops:
            return self.drop(document)
        return self.answer(200, document)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('directory')
    parser.add_argument('--token-file', required=True)
    parser.add_argument('--port', type=int, default=0)
    parser.add_argument('--seed', default=os.environ.get('SEED', '1'))
    arguments = parser.parse_args()

    Handler.catalogue = Catalogue(arguments.directory, arguments.seed)
    with open(arguments.token_file, encoding='ascii') as file:
        Handler.token = file.read().strip()
    server = ThreadingHTTPServer(('127.0.0.1', arguments.port), Handler)
    server.daemon_threads = True
    with open(f'{arguments.directory}/server.port.new', 'w', encoding='ascii') as file:
        file.write(f'{server.server_port}\n')
    os.rename(f'{arguments.directory}/server.port.new', f'{arguments.directory}/server.port')
    server.serve_forever()


if __name__ == '__main__':
    main()
