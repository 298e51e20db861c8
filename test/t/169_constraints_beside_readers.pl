# New constraints are looked at where readers do not have to wait: exclusion constraints beside, before the swap, foreign keys under a lock that lets readers pass; a foreign key that goes waits for readers of what it references without making others queue.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('constraints');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nclient_min_messages = error\netl.publish_lock_timeout = '120s'\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION etl; CREATE SCHEMA m;
	CREATE FUNCTION m.gate(v int) RETURNS int LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE AS
		$$BEGIN IF current_setting('application_name') = 'builder' THEN PERFORM pg_advisory_xact_lock(1); END IF; RETURN v; END$$;
	CREATE TABLE m.input AS SELECT i AS id, i % 10 AS k FROM generate_series(1, 1000) AS i;
	CREATE TABLE m.parent (k int PRIMARY KEY);
	INSERT INTO m.parent SELECT generate_series(0, 9);
});

# ask returns what a query answers; a request that waits is an error.
sub ask
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', "SET lock_timeout = '900ms'; $sql");
}

# define gives the model constraints.
sub define
{
	my (@constraints) = @_;

	my $list = join(', ', map { qq("$_") } @constraints);

	ask(qq{SELECT etl.define_model('m.t', 'SELECT id, k FROM m.input', 'table', key => '{id}', options => '{"constraints": [$list], "retry": {"attempts": 1}}')});
}

# begin_run starts a run in a session of its own.
sub begin_run
{
	my $run = $node->background_psql('postgres', on_error_stop => 0);

	$run->query_until(qr/begun/, "\\echo begun\nSET application_name = 'builder'; CALL etl.run('m.t');\n");
	return $run;
}

# begin_gated starts it behind a closed gate, and returns both sessions when it has come there.
sub begin_gated
{
	my $gate = $node->background_psql('postgres');

	$gate->query_safe('SELECT pg_advisory_lock(1)');
	my $run = begin_run();
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}), 'the run is at the gate');
	return ($gate, $run);
}

# last_task tells how the newest task ended.
sub last_task
{
	return ask(q{SELECT concat_ws(' ', status, sqlstate, error) FROM etl.tasks WHERE node = 'm.t' ORDER BY task_id DESC LIMIT 1});
}

my $constraints = q{SELECT string_agg(pg_get_constraintdef(oid), '; ' ORDER BY oid) FROM pg_constraint WHERE conrelid = 'm.t'::regclass AND convalidated AND contype <> 'n'};
my $locks = q{SELECT count(*) FROM pg_locks WHERE relation IN ('m.t'::regclass, 'm.parent'::regclass) AND mode = 'AccessExclusiveLock'};
define();
$node->safe_psql('postgres', 'CALL etl.run()');
my $oid = ask(q{SELECT 'm.t'::regclass::oid});

# An exclusion constraint, made beside.
define('EXCLUDE (m.gate(abs(id)) WITH =)');
my ($gate, $run) = begin_gated();
is(ask($locks), 0, 'nobody asks for the lock while an exclusion constraint is made');
is(ask('SELECT count(*) FROM m.t'), 1000, 'readers go on');
$gate->query_safe('SELECT pg_advisory_unlock(1)');
$run->query('SELECT 1');
$_->quit for $gate, $run;
is(last_task(), 'succeeded', 'it is published');
is(ask($constraints), 'EXCLUDE USING btree (m.gate(abs(id)) WITH =)', 'with its constraint');
is(ask(q{SET enable_seqscan = off; SELECT count(*) FROM m.t WHERE m.gate(abs(id)) BETWEEN 11 AND 20}), 10, 'whose index finds the rows');
my ($ret, $out, $error) = $node->psql('postgres', 'INSERT INTO m.t VALUES (-7, 7)');
like($error, qr/conflicting key value violates exclusion constraint "t_etl_c/, 'and which holds');
define('EXCLUDE (k WITH =)');
$node->psql('postgres', q{CALL etl.run('m.t')});
like(last_task(), qr/^failed 23P01 could not create exclusion constraint "t_etl_c/, 'rows that are against one publish nothing');
is(ask($constraints), 'EXCLUDE USING btree (m.gate(abs(id)) WITH =)', 'the old one is there');

# A foreign key: readers of both tables pass while it is looked at.
define();
$node->safe_psql('postgres', q{CALL etl.run('m.t')});
is(ask($constraints), '', 'constraints go');
define('FOREIGN KEY (k) REFERENCES m.parent ON DELETE SET NULL');
my $writer = $node->background_psql('postgres');
$writer->query_safe('BEGIN; UPDATE m.parent SET k = k WHERE k = 0');
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN; SELECT count(*) FROM m.t; SELECT count(*) FROM m.parent');
$run = begin_run();
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE relation = 'm.parent'::regclass AND mode = 'ShareRowExclusiveLock' AND NOT granted}),
	'a new foreign key waits for who writes to what it references');
is(ask($locks), 0, 'without a lock that readers would notice');
is(ask('SELECT count(*) FROM m.t; SELECT count(*) FROM m.parent'), "1000\n10", 'others read both');
$writer->query_safe('COMMIT');
$run->query('SELECT 1');
$run->quit;
is(last_task(), 'succeeded', 'it is made while somebody reads');
is(ask($constraints), 'FOREIGN KEY (k) REFERENCES m.parent(k) ON DELETE SET NULL', 'and holds');
$reader->query_safe('COMMIT');

# It goes again: who reads what it references is waited for, and others who come read on.
$reader->query_safe('BEGIN; SELECT count(*) FROM m.parent');
define();
$run = begin_run();
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'builder' AND state = 'active' AND wait_event = 'Extension'}),
	'a foreign key that goes waits for who reads what it references');
is(ask('SELECT count(*) FROM m.t; SELECT count(*) FROM m.parent'), "1000\n10", 'others read both');
$reader->query_safe('COMMIT');
$run->query('SELECT 1');
$run->quit;
is(last_task(), 'succeeded', 'then it goes');
is(ask($constraints), '', 'and is gone');

# Rows that are against a new one publish nothing.
$node->safe_psql('postgres', 'DELETE FROM m.parent WHERE k = 3; UPDATE m.input SET id = id + 1');
my $sum = ask('SELECT sum(id) FROM m.t');
define('FOREIGN KEY (k) REFERENCES m.parent');
$node->psql('postgres', q{CALL etl.run('m.t')});
like(last_task(), qr/^failed 23503 insert or update on table "t" violates foreign key/, 'a row without a parent is told');
is(ask('SELECT sum(id) FROM m.t'), $sum, 'nothing is published');
is(ask(q{SELECT 'm.t'::regclass::oid}), $oid, 'it is the same table all the time');
$_->quit for $writer, $reader;

$node->stop;
done_testing();
