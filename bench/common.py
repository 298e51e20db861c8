"""What the benchmarks share: statements timed in one psql, data made by the server, one line of result.

BENCH_SCALE scales rows (1: three million), BENCH_ROUNDS says how often each side runs; the best
time of each side counts, and the two sides take turns.
"""
import os
import re
import subprocess
import sys
import time

SCALE = float(os.environ.get("BENCH_SCALE", "1"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
WORKDIR = os.environ["ETL_WORKDIR"]
ROWS = max(1000, int(3_000_000 * SCALE))

COLUMNS = ("id bigint, customer text, amount numeric(12,2), quantity integer, ordered_at timestamptz, "
           "status text, country text, note text")

# About 83 bytes a line as CSV.
ROWS_SQL = """
SELECT i AS id, 'customer-' || i % 50000 AS customer, round((i % 100000) / 7.0, 2) AS amount,
       i % 13 + 1 AS quantity, timestamptz '2026-01-01 00:00:00Z' + i % 5000000 * interval '1 second' AS ordered_at,
       (ARRAY['new', 'paid', 'sent', 'done', 'void'])[i % 5 + 1] AS status,
       (ARRAY['DE', 'FR', 'NL', 'PL'])[i % 4 + 1] AS country, 'note ' || md5(i::text) AS note
  FROM generate_series(1, {rows}) AS i
"""


def psql(*statements, quiet=True):
    """Runs statements in one session, each a transaction of its own; returns the last one's output."""
    words = ["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1"]
    for statement in statements:
        words += ["-c", statement]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE if quiet else None, text=True,
                          env=dict(os.environ, PGOPTIONS="-c client_min_messages=warning -c timezone=UTC"))
    if done.returncode != 0:
        sys.exit(f"{statements[-1][:200]}\n{done.stderr}")
    return done.stdout.strip().split("\n")[-1]


def timed(*statements, work=psql):
    """Seconds that the statements take, after a checkpoint, so that no side pays the other's writes."""
    psql("CHECKPOINT")
    begin = time.monotonic()
    work(*statements)
    return time.monotonic() - begin


def milliseconds(statement):
    """What a statement takes in a new session, without connecting: (by the clock, processor time)."""
    psql("CHECKPOINT")
    done = subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", "SET log_statement_stats = on", "-c", statement],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=dict(os.environ, PGOPTIONS="-c client_min_messages=log"))
    if done.returncode != 0:
        sys.exit(f"{statement[:200]}\n{done.stderr}")
    user, system, elapsed = re.findall(r"([0-9.]+) s user, ([0-9.]+) s system, ([0-9.]+) s elapsed", done.stderr)[-1]
    return 1000 * float(elapsed), 1000 * (float(user) + float(system))


def within(name, value, goal, unit, more=""):
    """Prints an absolute figure; returns whether it reaches the goal."""
    verdict = "ok" if value <= goal else "MISSED"
    print(f"{name:<18} {value:8.2f} {unit:<2} goal {goal:6.1f}   {verdict}{'   ' + more if more else ''}", flush=True)
    return value <= goal


def path(name):
    return os.path.join(WORKDIR, name)


def make_file(name, query, options="FORMAT csv, HEADER"):
    """Writes the rows of 'query' as a file; returns its path."""
    psql(f"COPY ({query}) TO '{path(name)}' WITH ({options})")
    return path(name)


def prepare():
    """A database that has the extension, a source over WORKDIR and the schema raw."""
    psql("CREATE EXTENSION IF NOT EXISTS etl", "CREATE SCHEMA IF NOT EXISTS raw",
         f"SELECT etl.define_source('bench', 'file', '{{\"root\": \"{WORKDIR}\"}}')")


def forget(target):
    """Drops a stream and its relation."""
    psql(f"SELECT etl.drop_stream(target, true, true) FROM etl.streams WHERE target = '{target}'")


def versus(name, ours, theirs, goal, unit="s", more=""):
    """Prints the ratio; returns whether it reaches the goal."""
    ratio = ours / theirs
    verdict = "ok" if ratio <= goal else "MISSED"
    print(f"{name:<18} etl {ours:8.2f} {unit}   against {theirs:8.2f} {unit}   ratio {ratio:5.2f}"
          f"   goal {goal:4.2f}   {verdict}{'   ' + more if more else ''}", flush=True)
    return ratio <= goal


def best(ours, theirs):
    """The best time of each of two functions, which take turns."""
    a, b = [], []
    for _ in range(ROUNDS):
        a.append(ours())
        b.append(theirs())
    return min(a), min(b)
