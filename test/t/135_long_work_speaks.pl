# Whatever a session of etl is at for longer than three seconds, it says so again and again: hooks, indexes, waits, and work of others.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use Etl::Crash qw(begin_at_work);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $cluster = Etl::Cluster->new('speaks');
my $node = $cluster->node;

$cluster->sql(q(
	CREATE TABLE numbers AS SELECT g AS n FROM generate_series(1, 120) g;
	CREATE TABLE failed AS SELECT 0 AS times;
	CREATE FUNCTION slowly(n bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
		'BEGIN PERFORM pg_sleep(0.05); RETURN n; END';
	CREATE FUNCTION busy() RETURNS int LANGUAGE plpgsql AS
		'BEGIN RAISE EXCEPTION ''try again'' USING ERRCODE = ''40001''; END';
	SELECT etl.define_model('quick', 'SELECT 1 AS x, now() AS at', 'table');
	SELECT etl.define_model('hooked', 'SELECT 1 AS x, now() AS at', 'table',
		options => '{"pre_hook": ["UPDATE numbers SET n = n WHERE slowly(n) > 0"]}');
	SELECT etl.define_model('asking', 'SELECT (SELECT max(slowly(n)) FROM numbers) AS x', 'table');
	SELECT etl.define_model('indexed', 'SELECT g::bigint AS n, now() AS at FROM generate_series(1, 120) g', 'table',
		options => '{"indexes": ["slowly(n)"]}');
	SELECT etl.define_model('asleep', 'SELECT pg_sleep(7.5) IS NULL AS x, now() AS at', 'table');
	SELECT etl.define_model('retried', 'SELECT busy() AS x', 'table',
		options => '{"retry": {"attempts": 4, "base": "60 s", "cap": "60 s"}}');
));

my $at_work = q(SELECT count(*) FROM etl.progress WHERE node = 'public.hooked');

# said runs a statement and returns the messages of a kind.
sub said
{
	my ($sql, $pattern) = @_;
	my (undef, undef, $messages) = $cluster->try_sql($sql);
	my @said = $messages =~ /NOTICE:  ($pattern)/g;

	return scalar(@said) || (diag($messages), 0)[1];
}

cmp_ok(said("CALL etl.run('hooked')", qr/public\.hooked: building, for \d+ s/), '>=', 2, 'six seconds of a hook');
cmp_ok(said("CALL etl.run('asking')", qr/public\.asking: building, .*/), '>=', 2, 'a query that is long before its first row');
cmp_ok(said("CALL etl.run('indexed')", qr/public\.indexed: building index 1 of 1, .*/), '>=', 1, 'the index of a new table');
is($cluster->sql(q(SELECT count(*) FROM pg_index WHERE indrelid = 'indexed'::regclass AND indisvalid AND indisready)), '1', 'is there');
is($cluster->sql(q(SET enable_seqscan = off; SELECT n FROM indexed WHERE slowly(n) = slowly(77))), '77', 'and finds its rows');
cmp_ok(said("CALL etl.run('indexed')", qr/public\.indexed: building index 1 of 1, .*/), '>=', 1, 'the index of a table that is swapped');

# One long call, in which only PostgreSQL looks whether there is something to do.  The server's log holds nothing of how etl gets a word
# in there; what a user asks for in the same way goes there as ever, and a cancel is heard.
cmp_ok(said("CALL etl.run('asleep')", qr/public\.asleep: building, for \d+ s/), '>=', 3, 'one long call of a function');
unlike(slurp_file($node->logfile), qr/memory contexts|Grand total/, '... and the log is silent');
my $asleep = begin_at_work($node, "CALL etl.run('asleep');");
for (1 .. 3000)
{
	last if $asleep->{stderr} =~ /asleep: building/;
	$asleep->{session}->pump_nb;
	usleep(50_000);
}
$cluster->sql("SELECT pg_log_backend_memory_contexts($asleep->{pid})");
my $logged;
for (1 .. 200)
{
	$logged = slurp_file($node->logfile);
	last if $logged =~ /Grand total/;
	usleep(50_000);
}
like($logged, qr/logging memory contexts of PID $asleep->{pid}.*TopMemoryContext.*Grand total/s, 'pg_log_backend_memory_contexts() works');
$cluster->sql("SELECT pg_cancel_backend($asleep->{pid})");
$asleep->{stdin} .= "\\q\n";
$asleep->{session}->finish;
like($asleep->{stderr}, qr/canceling statement due to user request/, 'a cancel ends it');

# The wait is a random one of up to a minute: of three, one is long.
my $work = begin_at_work($node, "CALL etl.run('retried');");
for (1 .. 3000)
{
	last if $work->{stderr} =~ /waiting for the next attempt/;
	$work->{session}->pump_nb;
	usleep(50_000);
}
like($work->{stderr}, qr/NOTICE:  run \d+: waiting for the next attempt/, 'the wait for the next attempt');
$cluster->sql("SELECT pg_cancel_backend($work->{pid})");
$work->{stdin} .= "\\q\n";
$work->{session}->finish;

# A node at work elsewhere, and a run led elsewhere.
$work = begin_at_work($node, "CALL etl.run('hooked');");
ok(defined $cluster->poll($at_work, '1', 30), 'a session is at work');
cmp_ok(said("CALL etl.run('hooked')", qr/waiting for public\.hooked, at work in another session.*/), '>=', 2, 'the wait for a node');
$work->{stdin} .= "\\q\n";
$work->{session}->finish;
my $run_id = $cluster->submit('hooked');
cmp_ok(said("SELECT etl.wait($run_id)", qr/public\.hooked: building, for \d+ s/), '>=', 2, 'etl.wait() says what it waits for');
is($cluster->sql("SELECT status FROM etl.runs WHERE run_id = $run_id"), 'succeeded', 'which ends well');

# A limit of the user's own on waiting for locks stays what it is.
$work = begin_at_work($node, "CALL etl.run('hooked');");
ok(defined $cluster->poll($at_work, '1', 30), 'a session is at work again');
my (undef, undef, $messages) = $cluster->try_sql("SET lock_timeout = '200ms'; CALL etl.run('hooked')");
like($messages, qr/lock timeout/, 'lock_timeout ends the wait');
$work->{stdin} .= "\\q\n";
$work->{session}->finish;
$cluster->no_leaks('in the end');

$node->stop;
done_testing();
