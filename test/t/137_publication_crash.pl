# A server that dies in the middle of a publication has published nothing of it, of whatever kind, and the next run publishes all of it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Crash qw(begin_at_work kill_at_work);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('crash');
$node->init;
$node->append_conf('postgresql.conf',
	"fsync = off\nrestart_after_crash = on\nclient_min_messages = error\ntimezone = 'UTC'\n");
$node->start;

# Every hook waits for a lock that the test holds: by then the rows are written and swapped, and not committed.
$node->safe_psql('postgres', q(
	CREATE EXTENSION etl;
	CREATE EXTENSION IF NOT EXISTS amcheck;
	CREATE SCHEMA m;
	CREATE TABLE m.input AS SELECT i AS id, 1 AS v, timestamptz '2026-01-01' + i * interval '1 hour' AS at FROM generate_series(1, 2000) AS i;
	CREATE FUNCTION m.gate(int) RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_xact_lock($1)';
	SELECT etl.define_model('m.a_table', 'SELECT id, v, repeat(''x'', 3000) AS wide FROM m.input', 'table', '{id}',
		options => '{"keep_versions": 1, "indexes": [["v"]], "post_hook": "SELECT m.gate(1)"}');
	SELECT etl.define_model('m.b_incremental', 'SELECT id, v FROM m.a_table', 'incremental', '{id}', options => '{"keep_versions": 1}');
	SELECT etl.define_model('m.c_snapshot', 'SELECT id, v, at + v * interval ''1 second'' AS at FROM m.input', 'snapshot', '{id}', 'timestamp', 'at');
	SELECT etl.define_model('m.d_parts', 'SELECT id, at, v FROM m.input', 'table', '{id,at}', options => '{"partition_by": {"range": "at", "interval": "1 month"}}');
	SELECT etl.define_model('m.e_matview', 'SELECT id, v FROM m.input', 'materialized_view', '{id}');
	SELECT etl.define_model('m.f_view', 'SELECT 1 AS v');
	SELECT etl.define_model('m.g_last', 'SELECT count(*) AS n, sum(v) AS v FROM m.b_incremental', 'table', options => '{"post_hook": "SELECT m.gate(2)"}');
));
$node->safe_psql('postgres', 'CALL etl.run()');

# state tells what readers and etl see of every model, and that its indexes agree with it.
sub state
{
	$node->safe_psql('postgres', q(SELECT bt_index_check(indexrelid, true) FROM pg_index JOIN pg_am ON amname = 'btree'
		JOIN pg_class c ON c.oid = indexrelid AND relam = pg_am.oid AND c.relkind = 'i' WHERE relnamespace = 'm'::regnamespace));
	return $node->safe_psql('postgres', q(
		SELECT 'a', count(*), sum(v), sum(length(wide)) FROM m.a_table UNION ALL SELECT 'b', count(*), sum(v), 0 FROM m.b_incremental
		UNION ALL SELECT 'c', count(*), sum(v), count(*) FILTER (WHERE is_current) FROM m.c_snapshot
		UNION ALL SELECT 'd', count(*), sum(v), 0 FROM m.d_parts UNION ALL SELECT 'e', count(*), sum(v), 0 FROM m.e_matview
		UNION ALL SELECT 'f', count(*), sum(v), 0 FROM m.f_view UNION ALL SELECT 'g', n, v, 0 FROM m.g_last ORDER BY 1;
		SELECT target, served_version FROM etl.models ORDER BY 1;
		SELECT target, publication FROM etl.node_state ORDER BY 1;
		SELECT relname, relkind, pg_relation_filenode(oid) FROM pg_class WHERE relnamespace = 'm'::regnamespace ORDER BY 1));
}

# crash_in begins statements, waits until they are at a gate, and kills their server process.
sub crash_in
{
	my ($gate, $sql) = @_;
	my $guard = $node->background_psql('postgres');

	$guard->query_safe("SELECT pg_advisory_lock($gate)");
	my $work = begin_at_work($node, $sql);
	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = $gate AND NOT granted")
	  or die 'nobody is at the gate';
	is(kill_at_work($work), 1, 'killed');
	eval { $guard->quit };
	return;
}

my $before = state();
$node->safe_psql('postgres', 'UPDATE m.input SET v = 2; DELETE FROM m.input WHERE id > 1900');
crash_in(1, "CALL etl.run('m.a_table');");
is(state(), $before, 'a swap that was not committed has not happened');
is($node->safe_psql('postgres', q(SELECT count(*) FROM pg_class WHERE relname ~ '^pg_temp_[0-9]+$')), 0, 'no transient heap is left');

$node->safe_psql('postgres', q(SELECT etl.define_model('m.f_view', 'SELECT 2 AS v, ''new'' AS more')));
crash_in(2, "CALL etl.run(publish => 'together');");
is(state(), $before, 'nothing of a group is published, whatever its kinds');
is($node->safe_psql('postgres', q(SELECT string_agg(DISTINCT status, ' ') FROM etl.runs WHERE run_id > 1)),
	'interrupted', 'both runs are told as interrupted');

$node->safe_psql('postgres', q(CALL etl.run(publish => 'together')));
my $after = state();
like($after, qr/^a\|1900\|3800\|5700000\nb\|1900\|3800\|0\nc\|3900\|5800\|\d+\nd\|1900\|3800\|0\ne\|1900\|3800\|0\nf\|1\|2\|0\ng\|1900\|3800\|0\n/,
	'the next run publishes all of it');

# The rows that a rollback has put back go with the server, too.
$node->safe_psql('postgres', 'UPDATE m.input SET v = 3; CALL etl.run()');
$before = state();
my $work = begin_at_work($node, "BEGIN; SELECT 'rolled ' || substr(etl.rollback('m.a_table'), 1, 4); SELECT pg_advisory_lock(3), pg_advisory_lock_shared(4);");
$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4 AND granted))
  or die 'the rollback did not come';
is(kill_at_work($work), 1, 'killed');
is(state(), $before, 'a rollback that was not committed has not happened');
like($node->safe_psql('postgres', q(SELECT etl.rollback('m.a_table'))), qr/with its rows/, 'kept rows are still there to go back to');
is($node->safe_psql('postgres', 'SELECT sum(v) FROM m.a_table'), '3800', 'and are those of before');

$node->stop;
done_testing();
