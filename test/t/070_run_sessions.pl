# Sessions that run the same node, a caller's transaction, roles that exist already: always exact, never double, never stuck.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{ETL_ROUNDS} // 10;
my $sessions = 20;
my $files = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('sessions');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nlog_min_messages = error\ndeadlock_timeout = 100ms\n"
	  . "etl.allowed_directories = '$files'\n");
$node->start;

# write_file adds a CSV file with the given ids.
sub write_file
{
	my ($name, @ids) = @_;

	open(my $fh, '>', "$files/$name.tmp") or die "$name: $!";
	print $fh "id,label\n", map { "$_,label $_\n" } @ids;
	close($fh);
	rename("$files/$name.tmp", "$files/$name") or die "$name: $!";
	return;
}

# answer returns one value.
sub answer
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

# A role through which somebody could act is not given rights unasked.
$node->safe_psql('postgres', 'CREATE ROLE mallory LOGIN; CREATE ROLE etl_admin; GRANT etl_admin TO mallory');
my ($code, $out, $err) = $node->psql('postgres', 'CREATE EXTENSION etl');
isnt($code, 0, 'a role with members is refused');
like($err, qr/role "etl_admin" exists already and is in use/, 'it is named');
like($err, qr/etl\.adopt_roles/, 'the hint says how to adopt it');
$node->safe_psql('postgres', 'REVOKE etl_admin FROM mallory; ALTER ROLE etl_admin LOGIN');
($code, $out, $err) = $node->psql('postgres', 'CREATE EXTENSION etl');
isnt($code, 0, 'a role that can log in is refused');
is(answer("SELECT count(*) FROM pg_roles WHERE rolname = 'etl_viewer'"), 0, 'nothing was made');
$node->safe_psql('postgres', 'GRANT etl_admin TO mallory; SET etl.adopt_roles = on; CREATE EXTENSION etl; DROP EXTENSION etl');
$node->safe_psql('postgres', 'ALTER ROLE etl_admin NOLOGIN; REVOKE etl_admin FROM mallory; CREATE EXTENSION etl');
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION etl');
pass('a second database uses the same roles');

$node->safe_psql('postgres', qq(
	CREATE SCHEMA raw; CREATE SCHEMA mart;
	SELECT etl.define_source('files', 'file', '{"root": "$files"}');
	SELECT etl.define_stream('raw.items', 'files', '{"path": "items_*.csv"}', format => 'csv',
		columns => 'id bigint, label text');
	SELECT etl.define_model('mart.items', 'SELECT id, label FROM raw.items', 'incremental');
	SELECT etl.define_model('mart.total', 'SELECT count(*) AS n, sum(id) AS s FROM mart.items', 'table');
));

# Twenty sessions, the same three nodes, many rounds.
open(my $script, '>', "$files/run.sql") or die $!;
print $script "CALL etl.run();\n";
close($script);
my ($next, $errors) = (1, 0);
for my $round (1 .. $rounds)
{
	write_file("items_$round.csv", $next .. $next + 99);
	$next += 100;
	my $result = run_log([
			$node->installed_command('pgbench'), '-n', '-c', $sessions, '-j', '2', '-t', '1',
			'-f', "$files/run.sql", '-h', $node->host, '-p', $node->port, 'postgres' ]);
	$errors++ if !$result;
}
my $ids = $next - 1;
is($errors, 0, "$sessions sessions ran $rounds rounds without an error");
is(answer('SELECT count(*), count(DISTINCT id) FROM raw.items'), "$ids|$ids", 'every row landed once');
is(answer('SELECT count(*), count(DISTINCT id) FROM mart.items'), "$ids|$ids", 'and was built once');
is(answer('SELECT n, s FROM mart.total'), $ids . '|' . ($ids * ($ids + 1) / 2), 'the total is exact');
is(answer("SELECT count(*) FROM etl.loads"), $rounds, 'one load a file');
is(answer("SELECT status, count(*) FROM etl.runs GROUP BY 1"), 'succeeded|' . $rounds * $sessions, 'every run succeeded');
is(answer("SELECT sum(rows_inserted) FROM etl.tasks WHERE node = 'raw.items'"), $ids, 'the tasks tell it once');

# In a caller's transaction (psql -1) nothing is there before its COMMIT, and nothing at all after a ROLLBACK.
write_file('items_tx.csv', $next .. $next + 9);
$node->safe_psql('postgres', 'BEGIN; CALL etl.run(); ROLLBACK');
is(answer('SELECT count(*) FROM raw.items'), $ids, 'a rolled back run leaves nothing');
my $first = $node->background_psql('postgres', on_error_stop => 0);
$first->query_safe('BEGIN');
$first->query('CALL etl.run()');
is(answer('SELECT count(*) FROM raw.items'), $ids, 'nothing is seen before the commit');

# A second session waits for the whole transaction, says so, and finds the work done.
my $waiting = $node->background_psql('postgres', on_error_stop => 0);
$waiting->query_until(qr/started/, "\\echo started\nCALL etl.run();\n");
$node->poll_query_until('postgres',
	"SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") or die 'nobody waits';
$first->query('COMMIT');
$first->quit;
$waiting->query('SELECT 1');
my $said = $waiting->{stderr};
like($said, qr/waiting for \S+, at work in another session \(pid \d+\)/, 'it says what it waits for');
$waiting->quit;
is(answer('SELECT count(*), count(DISTINCT id) FROM raw.items'), ($ids + 10) . '|' . ($ids + 10), 'no double work');
is(answer('SELECT n FROM mart.total'), $ids + 10, 'and the total follows');

write_file('items_single.csv', $next + 10 .. $next + 19);
$node->command_ok([ 'psql', '-X', '-q', '-1', '-c', 'CALL etl.run()', '-c', 'SELECT 1', $node->connstr('postgres') ],
	'psql -1');
is(answer('SELECT n FROM mart.total'), $ids + 20, 'commits with its transaction');

# A wait can be cancelled.
$first = $node->background_psql('postgres', on_error_stop => 0);
$first->query_safe('BEGIN');
$first->query(q(CALL etl.run('raw.items')));
($code, $out, $err) = $node->psql('postgres', "SET statement_timeout = '300ms'; CALL etl.run('raw.items')");
like($err, qr/canceling statement due to statement timeout/, 'a wait for a node can be cancelled');
($code, $out, $err) = $node->psql('postgres', "CALL etl.run('mart.total')");
is($code, 0, 'other nodes are free meanwhile');
$first->query('ROLLBACK');
$first->quit;

$node->stop;
done_testing();
