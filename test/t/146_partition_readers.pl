# Readers of a partitioned model see the rows of before or the new ones while its partitions are replaced, and nobody queues behind the lock.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use lib 'test/perl';

my $node = PostgreSQL::Test::Cluster->new('partitions');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\ntimezone = 'UTC'\nstatement_timeout = '60s'\n");
$node->start;
$node->safe_psql('postgres', q(
	CREATE EXTENSION etl;
	CREATE SCHEMA p;
	SELECT etl.define_source('push', 'push');
	SELECT etl.define_stream('p.s', 'push', format => 'json', columns => 'id int, day date, n int', key => '{id}', mode => 'merge');
	SELECT etl.ingest('p.s', (SELECT jsonb_agg(jsonb_build_object('id', i, 'day', date '2026-01-01' + i % 90, 'n', 0)) FROM generate_series(1, 300) i));
	SELECT etl.define_model('p.m', 'SELECT id, day, n FROM p.s', 'incremental', '{id,day}', 'partition_replace',
		options => '{"retry": {"attempts": 1}, "partition_by": {"range": "day", "interval": "1 month"}}');
	CALL etl.run('p.m');));

sub files { return $node->safe_psql('postgres', "SELECT string_agg(pg_relation_filenode(inhrelid)::text, ' ' ORDER BY inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'p.m'::regclass") }

# a reader with an older snapshot, that has not touched the table yet
my $reader = $node->background_psql('postgres', on_error_stop => 1);
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM pg_class LIMIT 1');
my $before = files();
$node->safe_psql('postgres', q(SELECT etl.ingest('p.s', (SELECT jsonb_agg(jsonb_build_object('id', i, 'day', date '2026-01-01' + i % 90, 'n', 1)) FROM generate_series(1, 300) i)); CALL etl.run('p.m')));
isnt(files(), $before, 'partitions were replaced');
is($reader->query_safe('SELECT count(*) FROM p.m'), '300', 'an older snapshot sees rows, not none');

# which now holds a lock: the run gives up in time, and others read meanwhile
$node->safe_psql('postgres', q(SELECT etl.ingest('p.s', '[{"id": 1, "day": "2026-01-02", "n": 2}, {"id": 1000, "day": "2026-09-01", "n": 2}]')));
$before = files();
my $run = $node->background_psql('postgres', on_error_stop => 0);
$run->query_until(qr/begun/, "\\echo begun\nSET etl.publish_lock_timeout = '3s'; SET application_name = 'run'; CALL etl.run('p.m');\n");
ok($node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'run' AND query LIKE '%etl.run%'"), 'the run is at work');
my $read = 0;
do
{
	$read++ if $node->safe_psql('postgres', "SET lock_timeout = '2s'; SELECT count(*) FROM p.m WHERE n < 2") == 300;
} while ($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'run' AND state = 'active'") > 0);
ok($read > 0, "others read while the run polls for its locks");
is($node->safe_psql('postgres', q(SELECT sqlstate FROM etl.tasks WHERE node = 'p.m' AND status = 'failed' ORDER BY task_id DESC LIMIT 1)), 'ET019', 'the run gave up');
is(files(), $before, 'and left everything as it was');
$run->quit;
$reader->query_safe('COMMIT');
$node->safe_psql('postgres', "CALL etl.run('p.m')");
is($node->safe_psql('postgres', 'SELECT count(*), sum(n) FROM p.m'), '301|303', 'then it works');

# readers in a loop never see a month of half its rows, or none
$node->safe_psql('postgres', q(SELECT etl.ingest('p.s', '[{"id": 1, "day": "2026-01-02", "n": 1}]'); CALL etl.run('p.m')));
my @loops = map { $node->background_psql('postgres', on_error_stop => 1) } 1 .. 3;
for my $turn (2 .. 6)
{
	$node->safe_psql('postgres', "SELECT etl.ingest('p.s', (SELECT jsonb_agg(jsonb_build_object('id', i, 'day', date '2026-01-01' + i % 90, 'n', $turn)) FROM generate_series(1, 300) i))");
	$_->query_until(qr/begun/, q(\echo begun
DO $$ DECLARE seen bigint[]; BEGIN FOR i IN 1 .. 200 LOOP
	SELECT array_agg(DISTINCT n) || count(*) INTO seen FROM p.m WHERE day < '2026-04-01';
	IF cardinality(seen) <> 2 OR seen[2] <> 300 THEN RAISE WARNING 'torn: %', seen; END IF;
	COMMIT; END LOOP; END $$;) . "\n") for @loops;
	$node->safe_psql('postgres', "CALL etl.run('p.m')");
}
is($_->query_safe("SELECT 'done'"), 'done', 'a reader saw whole states only') for @loops;
unlike(join('', map { $_->{stderr} } @loops), qr/torn/, 'no reader saw a torn state');
$_->quit for @loops, $reader;
is($node->safe_psql('postgres', 'SELECT count(*), sum(n) FROM p.m'), '301|1802', 'and the last run is what is there');
$node->stop;
done_testing();
