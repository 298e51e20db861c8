# DDL that waits for a build does not hold up its publication: the build goes first, the DDL follows.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('ddl');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\netl.publish_lock_timeout = '20s'\n");
$node->start;
# the build waits in its query until a lock of another session is free
$node->safe_psql('postgres', q(
	CREATE EXTENSION etl; CREATE SCHEMA m;
	CREATE FUNCTION m.wait_here() RETURNS int LANGUAGE plpgsql AS
		$$BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN 1; END$$;
	SELECT etl.define_model('m.t', 'SELECT m.wait_here() AS x, now() AS at', materialized => 'table');
	CALL etl.run('m.t');
));

my $gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(4711)');

my $run = $node->background_psql('postgres', on_error_stop => 0);
$run->query_until(qr/begun/, "\\echo begun\nCALL etl.run('m.t', full_refresh => true);\n");
ok($node->poll_query_until('postgres',
	q(SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted)),
	'the build is at work');

my $ddl = $node->background_psql('postgres');
$ddl->query_until(qr/begun/, "\\echo begun\nALTER TABLE m.t SET (autovacuum_enabled = off);\nCREATE INDEX ON m.t (x);\nTRUNCATE m.t;\n");
ok($node->poll_query_until('postgres',
	q(SELECT count(*) = 1 FROM pg_locks WHERE relation = 'm.t'::regclass AND NOT granted)), 'DDL waits for it');

$gate->query_safe('SELECT pg_advisory_unlock(4711)');
ok($node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM etl.runs WHERE status = 'running')), 'the run ends');
is($node->safe_psql('postgres', q(SELECT string_agg(status || coalesce(sqlstate, ''), ' ') FROM etl.tasks
	WHERE run_id = (SELECT max(run_id) FROM etl.runs))), 'succeeded', 'at the first attempt');
ok($node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM m.t)), 'and then the DDL is done');

$_->quit for $gate, $run, $ddl;
$node->stop;
done_testing();
