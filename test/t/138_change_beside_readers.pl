# A changed definition gives its table other columns, constraints and indexes in the moment of the swap: readers are not held up while rows, constraints and indexes are made, and see the old table or the new one.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('change');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nclient_min_messages = warning\netl.publish_lock_timeout = '120s'\n");
$node->start;

# ask returns what a query answers; a request that waits is an error.
sub ask
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', "SET lock_timeout = '900ms'; $sql");
}

# Work that comes to a gate waits there until the test opens it.
$node->safe_psql('postgres', q{
	CREATE EXTENSION etl; CREATE SCHEMA m;
	CREATE FUNCTION m.gate(n int, v anyelement) RETURNS anyelement LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE AS
		$$BEGIN IF v IS NOT NULL THEN PERFORM pg_advisory_xact_lock(n); END IF; RETURN v; END$$;
	CREATE TABLE m.input AS SELECT i AS id, i % 10 AS k, md5(i::text) AS v FROM generate_series(1, 1000) AS i;
	SELECT etl.define_model('m."t ""x"', 'SELECT id, k, v FROM m.input', 'table', key => '{id}',
		options => '{"indexes": [["k"], ["v"]], "keep_versions": 1, "retry": {"attempts": 1}}');
	SELECT etl.define_model('m.above', 'SELECT id, k FROM m."t ""x"');
	CALL etl.run();
	CREATE INDEX users_index ON m."t ""x" (v DESC) INCLUDE (id);
	CREATE INDEX goes ON m."t ""x" ((k + 1)) WHERE id > 5;
	ALTER TABLE m."t ""x" ADD CHECK (length(v) = 32), ADD CHECK (k + id > 0);
});
my $oid = ask(q{SELECT 'm."t ""x"'::regclass::oid});

my $changed = q{SELECT etl.define_model('m."t ""x"', 'SELECT m.gate(1, id) AS id, k::text AS k, v, repeat(v, 300) AS w FROM m.input',
	'table', key => '{id}', options => '{"indexes": ["m.gate(3, k)", ["w"]], "unique": [["v"]], "keep_versions": 1,
	"constraints": ["PRIMARY KEY (id)", "CHECK (m.gate(2, k) <> ''x'')"], "not_null": ["w"], "retry": {"attempts": 1}}')};

# begin_run starts a run in a session of its own behind closed gates, and returns both sessions.
sub begin_run
{
	my $gates = $node->background_psql('postgres');
	my $run = $node->background_psql('postgres', on_error_stop => 0);

	$gates->query_safe('SELECT pg_advisory_lock(n) FROM generate_series(1, 3) AS n');
	$run->query_until(qr/begun/, qq{\\echo begun\nCALL etl.run('m."t ""x"');\n});
	return ($gates, $run);
}

# is_at waits until the run is at a gate.
sub is_at
{
	my ($n) = @_;

	return $node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = $n AND NOT granted");
}

# what_is tells what a reader sees.
sub what_is
{
	return ask(q{SELECT pg_typeof(t.k), count(*), sum(length(t.v)) FROM m."t ""x" AS t GROUP BY 1;
		SELECT pg_typeof(k), count(*) FROM m.above GROUP BY 1});
}

my $old = "integer|1000|32000\ninteger|1000";
ask($changed);
my ($gates, $run) = begin_run();
my %stage = (1 => 'the query', 2 => 'a constraint', 3 => 'an index');
for my $n (sort keys %stage)
{
	ok(is_at($n), "the run is at $stage{$n}");
	is(what_is(), $old, 'readers go on, with the columns of before');
	is(ask(qq{SELECT count(*) FROM pg_locks WHERE relation = $oid AND mode = 'AccessExclusiveLock'}), 0,
		'nobody asks for the lock');
	$gates->query_safe("SELECT pg_advisory_unlock($n)");
}
$run->query('SELECT 1');
is(ask(q{SELECT status FROM etl.tasks WHERE node = 'm."t ""x"' ORDER BY task_id DESC LIMIT 1}), 'succeeded', 'it is published');
is(what_is(), "text|1000|32000\ntext|1000", 'readers see the new columns, and the view above them');
is(ask(q{SELECT 'm."t ""x"'::regclass::oid}), $oid, 'of the same table');
is(ask(qq{SELECT string_agg(pg_get_constraintdef(oid), '; ' ORDER BY pg_get_constraintdef(oid)) FROM pg_constraint
	WHERE conrelid = $oid AND contype IN ('c', 'p')}),
	"CHECK ((length(v) = 32)); CHECK ((m.gate(2, k) <> 'x'::text)); PRIMARY KEY (id)", 'which has its constraints');
is(ask(qq{SELECT string_agg(pg_get_indexdef(indexrelid, 1, true) || CASE WHEN indisunique THEN ' unique' ELSE '' END, ', '
	ORDER BY pg_get_indexdef(indexrelid, 1, true), indisunique) FROM pg_index WHERE indrelid = $oid AND indisvalid}),
	'id unique, m.gate(3, k), v, v unique, w', 'and its indexes: those of others, too');
is(ask(q{SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT count(*) FROM m."t ""x" WHERE id BETWEEN 11 AND 20;
	SELECT count(*) FROM m."t ""x" WHERE m.gate(3, k) = '7'; SELECT count(*) FROM m."t ""x" WHERE v = md5('7') AND w LIKE v || '%'}),
	"10\n100\n1", 'they find its rows');
is(ask(q{SELECT count(*) FROM pg_class WHERE relname LIKE 'pg_temp%'}), 0, 'nothing is left over');
is(ask(q{SELECT count(*), sum(length(k::text)) FROM m."t ""x_etl_v1_p1"}), '1000|1000', 'the rows of before are kept, as they were');

# Rows that do not fit what the definition asks for publish nothing.
$gates->quit;
my @refused = (
	[ 'NULL::text AS w', '"not_null": ["w"]', qr/null value in column "w" of relation "t "x" violates/ ],
	[ '1 AS w', '"unique": [["w"]]', qr/could not create unique index "t "x/ ],
	[ '1 AS w', '"constraints": ["CHECK (w > 1)"]', qr/constraint "t "x_etl_c[0-9a-f]{8}" of relation "t "x" is violated/ ],
);
my $before = what_is();
for my $case (@refused)
{
	my ($column, $option, $error) = @$case;

	$node->safe_psql('postgres', qq{SELECT etl.define_model('m."t ""x"', 'SELECT id, $column FROM m.input', 'table', options => '{$option, "retry": {"attempts": 1}}')});
	$node->psql('postgres', q{CALL etl.run('m."t ""x"')});
	like(ask(q{SELECT error FROM etl.tasks WHERE node = 'm."t ""x"' ORDER BY task_id DESC LIMIT 1}), $error, "$option is an error of the table");
	is(what_is(), $before, 'which stays as it is');
}

# What the definition no longer asks for does not hold up its rows.
$node->safe_psql('postgres', q{SELECT etl.define_model('m."t ""x"', 'SELECT id, ''x''::text AS k, v, NULL::text AS w FROM m.input', 'table',
	options => '{"keep_versions": 1, "retry": {"attempts": 1}}'); CALL etl.run('m."t ""x"')});
is(ask(q{SELECT count(*), count(w) FROM m."t ""x"}), '1000|0', 'constraints and NOT NULL go with the rows that kept them');
is(ask(qq{SELECT count(*) FROM pg_constraint WHERE conrelid = $oid AND conname LIKE '%\\_etl\\_c%'}), 0, 'they are gone');
is(ask(q{SELECT count(*), count(w) FROM m."t ""x_etl_v2_p2"}), '1000|1000', 'the rows of before are kept');

# A run that is cancelled in the middle, and one whose server dies.
$before = what_is();
ask($changed);
($gates, $run) = begin_run();
$gates->query_safe('SELECT pg_advisory_unlock(n) FROM generate_series(1, 2) AS n');
ok(is_at(3), 'a run builds its indexes');
$node->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL etl.run%' AND pid <> pg_backend_pid()});
$run->query('SELECT 1');
is(what_is(), $before, 'cancelled, it has changed nothing');
$_->quit for $gates, $run;
($gates, $run) = begin_run();
$gates->query_safe('SELECT pg_advisory_unlock(n) FROM generate_series(1, 2) AS n');
ok(is_at(3), 'another one does');
$node->stop('immediate');
eval { $_->quit } for $gates, $run;
$node->start;
is(what_is(), $before, 'the death of the server changes nothing either');
$node->safe_psql('postgres', q{CALL etl.run('m."t ""x"')});
is(what_is(), "text|1000|32000\ntext|1000", 'the next run publishes');

$node->stop;
done_testing();
