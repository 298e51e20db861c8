# A publication beside a long reader polls for its lock: nobody who comes later waits, the error of a time-out names the reader, and the end of the reader lets it go on.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('beside');
my $reader_role = 'a"b; DROP';
my $quoted = '"a""b; DROP"';

$node->init;
$node->append_conf('postgresql.conf',
	"fsync = off\nclient_min_messages = warning\nmax_prepared_transactions = 2\netl.publish_lock_timeout = '120s'\n");
$node->start;
$node->safe_psql('postgres', qq(
	CREATE EXTENSION etl;
	CREATE SCHEMA m;
	CREATE ROLE $quoted LOGIN;
	GRANT USAGE ON SCHEMA m TO $quoted;
	CREATE TABLE m.input (id int, v int);
	INSERT INTO m.input SELECT i, 1 FROM generate_series(1, 1000) AS i;
	SELECT etl.define_model('m.t', 'SELECT id, v FROM m.input', 'table', options => '{"indexes": [["id"]], "retry": {"attempts": 1}}');
	SELECT etl.define_model('m.mv', 'SELECT id, v FROM m.input', 'materialized_view', options => '{"retry": {"attempts": 1}}');
	SELECT etl.define_model('m.v', 'SELECT id, v FROM m.input', options => '{"retry": {"attempts": 1}}');
	SELECT etl.define_model('m.above', 'SELECT id, v FROM m.v');
	CALL etl.run();
	GRANT SELECT ON ALL TABLES IN SCHEMA m TO $quoted;
));

# ask returns what a query answers.
sub ask
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

# begin_run starts a run of a node in a session of its own, and returns it.
sub begin_run
{
	my ($what, $settings) = @_;
	my $run = $node->background_psql('postgres', on_error_stop => 0);

	$run->query_until(qr/begun/, "\\echo begun\nSET application_name = 'publisher'; " . ($settings // '') . " CALL etl.run('$what');\n");
	return $run;
}

# is_polling waits until the publisher is polling for its lock.
sub is_polling
{
	return $node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity
		WHERE application_name = 'publisher' AND state = 'active' AND wait_event = 'Extension'));
}

# last_task tells how the newest task of a node ended.
sub last_task
{
	my ($what) = @_;

	return ask("SELECT concat_ws(' ', status, sqlstate, attempt) FROM etl.tasks WHERE node = '$what' ORDER BY task_id DESC LIMIT 1");
}

# read_beside reads a relation a hundred times as somebody who may do nothing else, and returns the worst wait in ms.
sub read_beside
{
	my ($what) = @_;

	# a request that waits longer than this is an error
	return $node->safe_psql('postgres', qq(
		SET lock_timeout = '900ms';
		CREATE TEMP TABLE worst (ms float);
		DO \$\$
		DECLARE before timestamptz; worst float := 0; rows int; queued int;
		BEGIN
			FOR i IN 1 .. 100 LOOP
				before := clock_timestamp();
				SELECT count(*) INTO rows FROM $what;
				worst := greatest(worst, extract(epoch FROM clock_timestamp() - before) * 1000);
				IF rows <> 1000 THEN RAISE EXCEPTION '% rows', rows; END IF;
				SELECT count(*) INTO queued FROM pg_locks WHERE relation = '$what'::regclass AND NOT granted;
				IF queued > 0 THEN RAISE EXCEPTION 'somebody stands in the queue'; END IF;
				COMMIT;
			END LOOP;
			INSERT INTO worst VALUES (worst);
		END \$\$;
		SELECT ms FROM worst), connstr => $node->connstr('postgres') . " user='$reader_role'");
}

my %change = (
	'm.t' => 'UPDATE m.input SET v = v + 1',
	'm.mv' => 'UPDATE m.input SET v = v + 1',
	'm.v' => q(SELECT etl.define_model('m.v', 'SELECT id, v, 1 AS more FROM m.input', options => '{"retry": {"attempts": 1}}')),
);
$node->safe_psql('postgres', "GRANT TEMPORARY ON DATABASE postgres TO $quoted");
for my $what (sort keys %change)
{
	my $reader = $node->background_psql('postgres');

	$reader->query_safe("BEGIN; SELECT count(*) FROM $what");
	$node->safe_psql('postgres', $change{$what});
	my $run = begin_run($what);
	ok(is_polling(), "$what: the run waits for the reader");
	cmp_ok(read_beside($what), '<', 900, "$what: readers that come later do not");
	is(ask(q(SELECT phase FROM etl.progress)), 'waiting for readers', "$what: and etl.progress says so");
	$reader->query_safe('COMMIT');
	$reader->quit;
	$run->query('SELECT 1');
	is(last_task($what), 'succeeded 1', "$what: published when the reader has ended, at the first attempt");
	$run->quit;
}
is(ask('SELECT min(v) FROM m.t'), 3, 'the new rows are there');
is(ask('SELECT more FROM m.v LIMIT 1'), 1, 'and the new view');

# A view whose columns change goes with the views above it: a reader of one of them does not make readers of the other wait.
my $above = $node->background_psql('postgres');
$above->query_safe('BEGIN; SELECT count(*) FROM m.above');
$node->safe_psql('postgres', q(SELECT etl.define_model('m.v', 'SELECT id, v::text AS v FROM m.input', options => '{"retry": {"attempts": 1}}')));
my $run = begin_run('m.v');
ok(is_polling(), 'the run waits for a reader of a view above');
cmp_ok(read_beside('m.v'), '<', 900, 'readers of the view itself do not');
cmp_ok(read_beside('m.above'), '<', 900, 'nor do those of the one above');
$above->query_safe('COMMIT');
$above->quit;
$run->query('SELECT 1');
$run->quit;
is(last_task('m.v'), 'succeeded 1', 'and the view is made again');

# The time is over: the error names who is in the way, and everything is as it was.
$node->safe_psql('postgres', 'UPDATE m.input SET v = 10');
my $before = ask(q(SELECT pg_relation_filenode('m.t'), min(v), max(v) FROM m.t));
my $holder = $node->background_psql('postgres', extra_params => [ '-U', $reader_role ]);
my $pid = $holder->query_safe('SELECT pg_backend_pid()');
$holder->query_safe('BEGIN; SELECT count(*) FROM m.t');
$run = begin_run('m.t', q(SET etl.publish_lock_timeout = '300ms';));
$run->query('SELECT 1');
$run->quit;
is(last_task('m.t'), 'failed ET019 1', 'the run gives up in time');
my $told = ask(q(SELECT detail FROM etl.tasks WHERE node = 'm.t' ORDER BY task_id DESC LIMIT 1));
like($told, qr/It is read or locked by process \Q$pid\E of role "\Q$reader_role\E"\./, 'its error names the reader');
is(ask(q(SELECT pg_relation_filenode('m.t'), min(v), max(v) FROM m.t)), $before, 'nothing is published');

# The same for a transaction that nobody is connected to any more.
$holder->query_safe('COMMIT');
$node->safe_psql('postgres', q(BEGIN; SELECT count(*) FROM m.t; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'forgotten'));
($run = begin_run('m.t', q(SET etl.publish_lock_timeout = '300ms';)))->query('SELECT 1');
$run->quit;
like(ask(q(SELECT detail FROM etl.tasks WHERE node = 'm.t' ORDER BY task_id DESC LIMIT 1)), qr/by a transaction without a process \(see pg_prepared_xacts\)\./,
	'a prepared transaction is named as one');
$node->safe_psql('postgres', q(ROLLBACK PREPARED 'forgotten'));

# What the caller has set: lock_timeout is for other locks, statement_timeout ends the run.
$holder->query_safe('BEGIN; SELECT count(*) FROM m.t');
$run = begin_run('m.t', q(SET statement_timeout = '700ms'; SET lock_timeout = '10ms';));
ok(is_polling(), 'a short lock_timeout of the caller does not end the polling');
$run->query('RESET statement_timeout');
is(last_task('m.t'), 'cancelled 57014 1', 'statement_timeout does');
like($run->{stderr}, qr/canceling statement due to statement timeout/, 'as the user is told');
is(ask(q(SELECT pg_relation_filenode('m.t'), min(v), max(v) FROM m.t)), $before, 'nothing is published');
$run->quit;

# So does a cancel; locks do not stay.
$run = begin_run('m.t');
ok(is_polling(), 'the next run polls');
$node->safe_psql('postgres', q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'publisher'));
$run->query('SELECT 1');
is(last_task('m.t'), 'cancelled 57014 1', 'it can be cancelled');
is(ask(q(SELECT count(*) FROM pg_locks WHERE relation = 'm.t'::regclass AND mode <> 'AccessShareLock')), 0, 'no lock is left over');
is(ask(q(SELECT count(*) FROM pg_class WHERE relname LIKE 'pg_temp%')), 0, 'nor what was built');
$run->quit;
$holder->query_safe('COMMIT');

# Rows of a former publication that somebody reads are not waited for: readers of the table itself would.
$node->safe_psql('postgres', q(
	SELECT etl.define_model('m.k', 'SELECT v AS x FROM m.input', 'table', options => '{"keep_versions": 1, "retry": {"attempts": 1}}');
	CALL etl.run('m.k');
	CALL etl.run('m.k', full_refresh => true)));
my $kept = ask(q(SELECT oid::regclass FROM pg_class WHERE relnamespace = 'm'::regnamespace AND relname LIKE 'k\_etl\_v%'));
$node->safe_psql('postgres', "GRANT SELECT ON $kept TO $quoted");
$holder->query_safe("BEGIN; SELECT count(*) FROM $kept");
$node->safe_psql('postgres', q(SET etl.publish_lock_timeout = '5s'; SET statement_timeout = '60s'; CALL etl.run('m.k', full_refresh => true)));
is(last_task('m.k'), 'succeeded 1', 'a reader of rows that are kept does not hold up the next publication');
is($holder->query_safe("SELECT count(*) FROM $kept"), 1000, 'and keeps them');
$holder->query_safe('COMMIT');
$node->safe_psql('postgres', q(CALL etl.run('m.k', full_refresh => true)));
is(ask(q(SELECT count(*) FROM pg_class WHERE relnamespace = 'm'::regnamespace AND relname LIKE 'k\_etl\_v%')), 1, 'they go with the next one');
$holder->quit;

$node->stop;
done_testing();
