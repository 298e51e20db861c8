# A rollback and a promotion happen whole or not at all, wait for a run of the same node, and survive dump and restore.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('publication');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nclient_min_messages = warning\n");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE first');

# ask returns what a query answers, rows joined by spaces.
sub ask
{
	my ($sql, $database) = @_;

	return join(' ', split(/\n/, $node->safe_psql($database || 'first', $sql)));
}

$node->safe_psql('first', q{
	CREATE EXTENSION etl; CREATE SCHEMA m; CREATE TABLE m.t AS SELECT i AS id FROM generate_series(1, 1000) AS i;
	SELECT etl.define_model('m.a', 'SELECT id, 1 AS v FROM m.t', 'table', key => '{id}', options => '{"keep_versions": 2}');
	SELECT etl.define_model('m.b', 'SELECT sum(v) AS v FROM m.a', 'table')});
$node->safe_psql('first', 'CALL etl.run()');
$node->safe_psql('first', q{SELECT etl.define_model('m.a', 'SELECT id, 2 AS v FROM m.t', 'table', key => '{id}', options => '{"keep_versions": 2}')});
$node->safe_psql('first', 'CALL etl.run()');
is(ask('SELECT v FROM m.b'), '2000', 'the second version is served');

# A reader with a snapshot from before sees its rows until it ends; new ones see those that came back.
my $reader = $node->background_psql('first');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM m.b');
is(ask(q{SELECT etl.rollback('m.a') LIKE 'version 1,%'}), 't', 'rolled back while somebody has a snapshot');
is($reader->query_safe('SELECT count(*) FROM m.a'), '1000', 'an older snapshot never sees an empty table');
$reader->query_safe('COMMIT');
$reader->quit;
is(ask('SELECT count(*), sum(v) FROM m.a'), '1000|1000', 'the rows of the first version are back');

# A run that is at work on the node is waited for: what it publishes is what is rolled back then.
my $run = $node->background_psql('first');
$run->query_safe(q{BEGIN; CALL etl.run('m.a', full_refresh => true);});
my $rollback = $node->background_psql('first');
$rollback->query_until(qr/asked/, "\\echo asked\nSELECT etl.rollback('m.a');\n");
$node->poll_query_until('first', q{SELECT count(*) = 1 FROM pg_stat_activity
	WHERE query LIKE '%rollback%' AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()})
	or die 'the rollback does not wait';
$run->query_safe('COMMIT');
$run->quit;
$rollback->quit;
is(ask('SELECT count(*) FROM m.a'), '1000', 'one after the other');
is(ask(q{SELECT version = served_version FROM etl.models WHERE target = 'm.a'}), 't', 'definition and rows agree');

# A rollback that is cancelled leaves the pair as it was.
my $before = ask(q{SELECT version, served_version, (SELECT sum(v) FROM m.a) FROM etl.models WHERE target = 'm.a'});
my $lock = $node->background_psql('first');
$lock->query_safe('BEGIN; SELECT count(*) FROM m.a');
my $cancelled = $node->background_psql('first', on_error_stop => 0);
$cancelled->query_until(qr/asked/, "\\echo asked\nSELECT etl.rollback('m.a');\n");
$node->poll_query_until('first', q{SELECT count(*) = 1 FROM pg_stat_activity
	WHERE query LIKE '%rollback%' AND wait_event = 'Extension' AND pid <> pg_backend_pid()})
	or die 'the rollback does not wait for its lock';
$node->safe_psql('first', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%rollback(%'
	AND pid <> pg_backend_pid()});
$lock->query_safe('COMMIT');
$lock->quit;
$cancelled->quit;
is(ask(q{SELECT version, served_version, (SELECT sum(v) FROM m.a) FROM etl.models WHERE target = 'm.a'}),
	$before, 'a cancelled rollback has done nothing');

# The server dies in the middle of a promotion.
$node->safe_psql('first', q{SET etl.environment = 'pr_1';
	SELECT etl.define_model('m.a', 'SELECT id, 7 AS v FROM m.t', 'table', key => '{id}', options => '{"keep_versions": 2}')});
$node->psql('first', q{SET etl.environment = 'pr_1'; CALL etl.run()});
$node->psql('first', 'CALL etl.run()', extra_params => [ '-c', q{SET etl.environment = 'pr_1'} ]);
is(ask('SELECT sum(v) FROM pr_1__m.b'), '7000', 'the environment is built beside');
my $promotion = $node->background_psql('first', on_error_stop => 0);
$promotion->query_safe(q{BEGIN; SELECT count(*) FROM etl.promote('pr_1');});
is($promotion->query_safe('SELECT v FROM m.b'), '7000', 'promoted within its transaction');
$node->stop('immediate');
eval { $promotion->quit };
$node->start;
is(ask(q{SELECT version, served_version, (SELECT sum(v) FROM m.a) FROM etl.models WHERE target = 'm.a'}),
	$before, 'what was not committed is not there');

# Everything travels in a dump: versions, rows that were kept, projects, environments.
$node->safe_psql('first', q{SELECT etl.begin_project('p');
	SELECT etl.define_model('m.p', 'SELECT 1 AS x')});
my $dump = PostgreSQL::Test::Utils::tempdir() . '/first.sql';
command_ok([ 'pg_dump', '-d', $node->connstr('first'), '-f', $dump ], 'pg_dump works');
$node->safe_psql('postgres', 'CREATE DATABASE second');
command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('second'), '-f', $dump ], 'psql restores it');
my $state = q{SELECT (SELECT count(*) FROM etl.definition_versions), (SELECT count(*) FROM etl.environments),
	(SELECT string_agg(kept, ',' ORDER BY kept) FROM etl.definition_versions)};
is(ask($state, 'second'), ask($state), 'versions, kept rows and environments came along');
is(ask(q{SELECT etl.rollback('m.a') LIKE 'version%'}, 'second'), 't', 'a restored database can be rolled back');
is(ask(q{SELECT etl.drop_environment('pr_1')}, 'second'), 't', 'and its environment dropped');
my $prune = $node->safe_psql('second', q{SELECT etl.begin_project('p'); SELECT name, action FROM etl.end_project()});
like($prune, qr/m\.p\|dropped/, 'its project knows what it had');

$node->stop;
done_testing();
