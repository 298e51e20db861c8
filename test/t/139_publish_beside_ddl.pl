# Readers of a materialized view are not held up by its refresh; prepared statements and older snapshots go on over a publication that changes columns; and what users do to a table during its build comes after it, whole.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('beside_ddl');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nclient_min_messages = warning\netl.publish_lock_timeout = '60s'\n");
$node->start;
# a build waits at the gate while another session has it closed
$node->safe_psql('postgres', q{
	CREATE EXTENSION etl; CREATE SCHEMA m;
	CREATE FUNCTION m.gate(v int) RETURNS int LANGUAGE plpgsql AS $$BEGIN PERFORM pg_advisory_xact_lock(1); RETURN v; END$$;
	CREATE TABLE m.input AS SELECT i AS id, 1 AS v FROM generate_series(1, 500) AS i;
	SELECT etl.define_model('m.t', 'SELECT m.gate(id) AS id, v FROM m.input', 'table', key => '{id}', options => '{"retry": {"attempts": 1}}');
	SELECT etl.define_model('m.mv', 'SELECT m.gate(id) AS id, v FROM m.input', 'materialized_view', key => '{id}');
	SELECT etl.define_model('m.plain', 'SELECT m.gate(id) AS id, v FROM m.input', 'materialized_view');
	CALL etl.run();
});
my $gate = $node->background_psql('postgres');

# ask returns what a query answers; a request that waits is an error.
sub ask
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', "SET lock_timeout = '900ms'; $sql");
}

# begin starts something in a session of its own.
sub begin
{
	my ($sql) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	$session->query_until(qr/begun/, "\\echo begun\n$sql;\n");
	return $session;
}

# begin_run starts a run, which waits at the gate.
sub begin_run
{
	my ($what) = @_;

	$gate->query_safe('SELECT pg_advisory_lock(1)');
	my $run = begin("CALL etl.run('$what', full_refresh => true)");
	$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted))
		or die 'the run does not come to the gate';
	return $run;
}

# end opens the gate and waits for sessions.
sub end
{
	my @sessions = @_;

	$gate->query_safe('SELECT pg_advisory_unlock(1)');
	for my $session (@sessions)
	{
		$session->query('SELECT 1');
		$session->quit;
	}
}

# last_task tells how the newest task of a node ended.
sub last_task
{
	my ($what) = @_;

	return ask("SELECT concat_ws(' ', status, sqlstate) FROM etl.tasks WHERE node = '$what' ORDER BY task_id DESC LIMIT 1");
}

# A materialized view, with and without a unique index.
for my $what (qw(m.mv m.plain))
{
	$node->safe_psql('postgres', 'UPDATE m.input SET v = v + 1');
	my $before = ask("SELECT sum(v) FROM $what");
	my $run = begin_run($what);
	is(ask("SELECT sum(v) FROM $what") . ask("SELECT sum(v) FROM $what"), $before x 2, "$what: readers go on while it is refreshed");
	end($run);
	is(ask("SELECT sum(v) FROM $what"), ask('SELECT sum(v) FROM m.input'), 'and see the new rows afterwards');
}

# Prepared statements and snapshots from before.
my $prepared = $node->background_psql('postgres');
$prepared->query_safe(q(SET plan_cache_mode = force_generic_plan; PREPARE one AS SELECT count(*), min(id), max(id) FROM m.t WHERE id > $1;
	PREPARE all_of_it AS SELECT * FROM m.t WHERE id = 1; EXECUTE one(0); EXECUTE all_of_it));
my $older = $node->background_psql('postgres');
$older->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM m.input');
$node->safe_psql('postgres', q(SELECT etl.define_model('m.t', 'SELECT m.gate(id) AS id, v::text AS v, 1 AS w FROM m.input', 'table',
	key => '{id}', options => '{"indexes": [["w"]], "retry": {"attempts": 1}}'); CALL etl.run('m.t')));
is($prepared->query_safe('EXECUTE one(0)'), '500|1|500', 'a prepared statement finds the rows of after');
is($older->query_safe('SELECT count(*), count(w), min(v) ~ $$^\d+$$ FROM m.t'), '500|500|t', 'so does an older snapshot, with the columns of after');
is($older->query_safe('SET enable_seqscan = off; SELECT count(*) FROM m.t WHERE w = 1'), '500', 'by the new index, too');
$older->query_safe('COMMIT');
$_->quit for $prepared, $older;

# What comes during a build follows it, and finds the table as it was published.
my %ddl = (
	'VACUUM FULL m.t' => 'SELECT count(*) FROM m.t',
	'CREATE INDEX CONCURRENTLY ON m.t (v)' => 'SELECT 499 + count(*) FROM pg_index WHERE indrelid = $$m.t$$::regclass AND indisvalid AND indkey[0] = 2',
	'ALTER TABLE m.t ADD COLUMN users int' => 'SELECT 500 + count(users) FROM m.t',
);
for my $ddl (sort keys %ddl)
{
	$node->safe_psql('postgres', q(UPDATE m.input SET v = v + 1; DROP INDEX IF EXISTS m.t_v_idx));
	my $sum = ask('SELECT sum(v) FROM m.input');
	my $run = begin_run('m.t');
	my $other = begin($ddl);
	$node->poll_query_until('postgres', q(SELECT count(*) > 0 FROM pg_locks WHERE relation = 'm.t'::regclass AND NOT granted))
		or die "$ddl does not wait";
	end($run, $other);
	is(last_task('m.t'), 'succeeded', "$ddl during a build: it is published");
	is(ask('SELECT sum(v::int) FROM m.t'), $sum, 'whole');
	my $query = $ddl{$ddl};
	is(ask($query =~ s/= 2/= (SELECT attnum FROM pg_attribute WHERE attrelid = \$\$m.t\$\$::regclass AND attname = \$\$v\$\$)/r), '500', 'and the rest is done');
}
# the column of somebody else goes again, since a model's table has the columns of its query
$node->safe_psql('postgres', q(CALL etl.run('m.t', full_refresh => true)));
is(ask(q(SELECT count(*) FROM pg_attribute WHERE attrelid = 'm.t'::regclass AND attname = 'users')), 0, 'a column of others goes with the next build');

# So does the end of everything.
my $run = begin_run('m.t');
my $drop = begin('DROP SCHEMA m CASCADE');
$node->poll_query_until('postgres', q(SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND locktype <> 'advisory'))
	or die 'DROP SCHEMA does not wait';
end($run, $drop);
is(ask(q(SELECT to_regclass('m.t') IS NULL AND NOT EXISTS (SELECT FROM pg_class WHERE relname LIKE 'pg\_temp%'))), 't', 'DROP SCHEMA leaves nothing over');
like(last_task('m.t'), qr/^(succeeded|failed)/, 'and the run has ended');
$gate->quit;

$node->stop;
done_testing();
