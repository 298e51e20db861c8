# Unit tests of models are usable from the real pgTAP, and neither a cancel, a crash nor another session finds anything of them.
use strict;
use warnings;

use Etl::Crash qw(wait_until_up);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('pgtap');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nrestart_after_crash = on\nautovacuum = off\ntimezone = 'UTC'\n");
$node->start;

# of a server that is somewhere else than Debian puts it the script itself is taken
my ($script) = sort { $b cmp $a } grep { !/--.*--/ } glob('/usr/share/postgresql/15/extension/pgtap--*.sql');
if ($node->psql('postgres', 'CREATE EXTENSION pgtap') != 0)
{
	die 'pgTAP is not installed: make deps' unless $script;
	my $text = slurp_file($script);
	$text =~ s/^\\echo.*$//m;
	$text =~ s/__OS__/linux/g;
	$node->safe_psql('postgres', "SET client_min_messages = error;\n$text");
}
$node->safe_psql('postgres', q(
	CREATE EXTENSION etl;
	CREATE SCHEMA raw; CREATE SCHEMA mart;
	CREATE TABLE raw.orders (day date, amount int);
	INSERT INTO raw.orders SELECT '2020-01-01', n FROM generate_series(1, 1000) AS n;
	SELECT etl.define_model('mart.daily', 'SELECT day, sum(amount) AS total FROM raw.orders GROUP BY day', 'incremental', key => '{day}');
	SELECT etl.define_unit_test('mart.daily', 'refunds', '{"raw.orders": [{"day": "2026-01-01", "amount": 5}, {"day": "2026-01-01", "amount": -2}]}',
		'[{"day": "2026-01-01", "total": 3}]');
	SELECT etl.define_unit_test('mart.daily', 'wrong', '{"raw.orders": [{"day": "2026-01-01", "amount": 5}]}',
		'{"query": [{"day": "2026-01-01", "total": 5}], "table": [{"day": "2026-01-01", "total": 6}]}');
	-- a model whose test takes as long as it is let
	CREATE FUNCTION raw.slow(n int) RETURNS int LANGUAGE plpgsql STABLE AS $$BEGIN PERFORM pg_sleep(600); RETURN n; END$$;
	SELECT etl.define_model('mart.slow', 'SELECT day, raw.slow(amount) AS n FROM raw.orders', 'table');
	SELECT etl.define_unit_test('mart.slow', 'slow', '{"raw.orders": [{"amount": 1}]}', '{"table": []}');));

my $tap = $node->safe_psql('postgres', q(
	BEGIN;
	SELECT plan(2);
	SELECT ok(status = 'pass', concat_ws(': ', target, test_name)) || coalesce(E'\n' || diag(jsonb_pretty(diff)), '')
	FROM etl.test('mart.daily');
	SELECT * FROM finish();
	ROLLBACK;));
like($tap, qr/^1\.\.2\nok 1 - mart\.daily: refunds\nnot ok 2 - mart\.daily: wrong\n/, 'pgTAP tells each test');
like($tap, qr/# *"total": \{\n# *"actual": 5,\n# *"expected": 6\n/, 'and what differs');
like($tap, qr/# Looks like you failed 1 test of 2/, 'and how many failed');
like($node->safe_psql('postgres', q[BEGIN; SELECT plan(1); SELECT results_eq($$SELECT test_name, status FROM etl.test('mart.daily')$$,
	$$VALUES ('refunds', 'pass'), ('wrong', 'fail')$$, 'as rows'); ROLLBACK]), qr/^ok 1 - as rows$/m, 'results_eq compares them');

sub left_over
{
	return $node->safe_psql('postgres', q(SELECT (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'etl\_unit%'),
		(SELECT count(*) FROM etl.models), (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'etl%'),
		(SELECT count(*) FROM etl.definition_version WHERE name LIKE 'etl_unit%')));
}
is(left_over(), '0|2|0|0', 'nothing is left over');

# a cancel ends it, and the session goes on with its own clock, names and rights
my $session = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
$session->query_until(qr/begun/, "\\echo begun\nSELECT * FROM etl.test('mart.slow');\n");
$node->poll_query_until('postgres', "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $pid")
	or die 'the test does not run';
is($node->safe_psql('postgres', q(SELECT count(*) FROM etl.test('mart.daily'))), '2', 'another session tests meanwhile');
is(left_over(), '0|2|0|0', 'nobody sees what a test makes');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
is($session->query(q(SELECT sum(amount) > 0 AND now() > '2026-01-02' AND statement_timestamp() > now() - interval '1 min' FROM raw.orders)),
	't', 'after a cancel real relations are read again, by the real clock');
is($session->query(q(SELECT string_agg(status, ' ' ORDER BY test_name) FROM etl.test('mart.daily'))), 'pass fail',
	'and tests go on');

# kill -9 in the middle
$session->query_until(qr/begun/, "\\echo begun\nSELECT * FROM etl.test('mart.slow');\n");
$node->poll_query_until('postgres', "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $pid")
	or die 'the test does not run';
kill 'KILL', $pid;
wait_until_up($node, $pid);
is(left_over(), '0|2|0|0', 'nor is anything after a crash');

eval { $session->quit };
$node->stop;
done_testing();
