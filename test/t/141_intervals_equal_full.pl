# Whatever happens to its inputs, a model that builds by intervals holds exactly what its query yields.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# ETL_SEED repeats a history, ETL_SECONDS says how long new ones are made, ETL_CASES how many; ETL_LIBRARY is another build of the extension
my $seed = $ENV{ETL_SEED} // int(time);
my $seconds = $ENV{ETL_SECONDS} // 40;
my $cases = $ENV{ETL_CASES} // 1_000_000;

my $node = PostgreSQL::Test::Cluster->new('intervals');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\ntimezone = 'UTC'\nrestart_after_crash = on\n");
$node->start;
$node->safe_psql('postgres', q{CREATE EXTENSION etl; SELECT etl.define_source('push', 'push')});
$node->safe_psql('postgres', "UPDATE pg_proc SET probin = '$ENV{ETL_LIBRARY}' WHERE probin = '\$libdir/etl'") if $ENV{ETL_LIBRARY};

# pick returns one of its arguments.
sub pick
{
	return $_[int(rand(@_))];
}

# moment returns a time of the first days of 2026, now and then none.
sub moment
{
	return rand() < 0.04 ? 'null' : sprintf('"2026-01-%02dT%02d:00:00Z"', 1 + int(rand(12)), int(rand(24)));
}

# facts makes rows of a fact as JSON; dims those of a dimension.
sub facts
{
	my ($n) = @_;

	return '[' . join(',', map { sprintf('{"id":%d,"k":"k%d","did":%d,"ts":%s,"amt":%d}', 1 + int(rand(30)), int(rand(5)), int(rand(6)),
		moment(), int(rand(50))) } 1 .. $n) . ']';
}

sub dims
{
	return '[' . join(',', map { sprintf('{"id":%d,"name":"n%d"}', int(rand(6)), int(rand(4))) } 1 .. 2) . ']';
}

# Each is (name, event time, its type, key, query over S.f append, S.e merge, S.d dimension).
my @shapes = (
	[ 'rows', 'ts', 'timestamptz', '', 'SELECT id, k, ts FROM S.f WHERE ts IS NOT NULL' ],
	[ 'keyed', 'ts', 'timestamptz', 'id', 'SELECT id, ts, amt * 2 AS d FROM S.e WHERE ts IS NOT NULL' ],
	[ 'days', 'day', 'timestamptz', 'day', q{SELECT date_trunc('day', ts) AS day, count(*) AS n, sum(amt) AS s FROM S.f WHERE ts IS NOT NULL GROUP BY 1} ],
	[ 'dates', 'day', 'date', 'day,k', 'SELECT ts::date AS day, k, max(amt) AS top FROM S.e WHERE ts IS NOT NULL GROUP BY 1, 2 HAVING count(*) > 0' ],
	[ 'wall', 'at', 'timestamp', 'id', q{SELECT id, ts AT TIME ZONE 'Asia/Tokyo' AS at FROM S.e WHERE ts IS NOT NULL} ],
	[ 'left_join', 'ts', 'timestamptz', '', 'SELECT f.id, f.ts, d.name FROM S.f f LEFT JOIN S.d d ON d.id = f.did WHERE f.ts IS NOT NULL' ],
	[ 'by_name', 'day', 'date', 'day,name', 'SELECT f.ts::date AS day, d.name, count(*) AS n FROM S.f f JOIN S.d d ON d.id = f.did WHERE f.ts IS NOT NULL GROUP BY 1, 2' ],
	[ 'united', 'ts', 'timestamptz', '', 'SELECT id, ts FROM S.f WHERE ts IS NOT NULL UNION ALL SELECT id, ts FROM S.e WHERE ts IS NOT NULL' ],
	[ 'windows', 'day', 'date', '', 'SELECT id, ts::date AS day, row_number() OVER (PARTITION BY ts::date ORDER BY ts, id) AS rn FROM S.e WHERE ts IS NOT NULL' ],
	[ 'latest_of_day', 'day', 'date', 'day', 'SELECT DISTINCT ON (ts::date) ts::date AS day, id, amt FROM S.e WHERE ts IS NOT NULL ORDER BY ts::date, ts DESC, id' ],
	[ 'existing', 'ts', 'timestamptz', 'id', 'SELECT e.id, e.ts FROM S.e e WHERE ts IS NOT NULL AND EXISTS (SELECT FROM S.d d WHERE d.id = e.did AND d.name <> \'n0\')' ],
	[ 'facts', 'ts', 'timestamptz', '', 'SELECT e.id, e.ts, f.amt FROM S.e e JOIN S.f f ON f.id = e.id WHERE e.ts IS NOT NULL' ],
	[ 'latest', 'ts', 'timestamptz', 'k', 'SELECT DISTINCT ON (k) k, ts, id FROM S.f WHERE ts IS NOT NULL ORDER BY k, ts DESC, id, amt, did' ],
	[ 'chain', 'day', 'timestamptz', 'day', 'SELECT day, sum(n) AS n FROM S.days WHERE day IS NOT NULL GROUP BY 1' ],
	[ 'trouble', 'ts', 'timestamptz', 'id', 'SELECT id, ts, 1 / (CASE WHEN EXISTS (SELECT FROM S.t WHERE t.day = e.ts::date) THEN 0 ELSE 1 END) AS one
		FROM S.e e WHERE ts IS NOT NULL' ]);

# define defines all models of a schema, with random intervals; returns what each begins with.
sub define
{
	my ($schema) = @_;
	my %begin;

	for my $shape (@shapes)
	{
		my ($name, $time, $type, $key, $query) = @$shape;
		my $batch = pick('1 day', '2 days', '7 days', '1 month', $type eq 'date' ? '3 days' : '6 hours');
		my $begin = rand() < 0.2 ? pick('2026-01-03', '2026-01-05 13:00') : undef;
		my $lookback = pick('NULL', 'NULL', q{'2 days'});

		$query =~ s/S\./$schema./g;
		$begin{$name} = $begin;
		$node->safe_psql('postgres', "SELECT etl.define_model('$schema.$name', \$q\$$query\$q\$, 'incremental', event_time => '$time', "
			  . ($key ? "key => '{$key}', " : '') . "batch_size => '$batch', lookback => $lookback, options => "
			  . ($begin ? qq('{"begin": "$begin"}') : q('{}')) . ')');
	}
	return %begin;
}

# differences counts the rows that a model has or lacks in its intervals; one without begin goes back to the first row.
sub differences
{
	my ($schema, $shape, $begin) = @_;
	my ($name, $time, $type, $key, $query) = @$shape;
	my $bound = "(SELECT %s FROM etl.intervals WHERE target = '$schema.$name')" . ($type eq 'timestamptz' ? '' : " AT TIME ZONE 'UTC'");

	$query =~ s/S\./$schema./g;
	my $want = "SELECT * FROM ($query) q WHERE $time < " . sprintf($bound, 'max(until)')
	  . ($begin ? " AND EXISTS (SELECT FROM etl.intervals i WHERE target = '$schema.$name' AND $time"
		  . ($type eq 'timestamptz' ? '' : "::timestamp AT TIME ZONE 'UTC'") . ' BETWEEN i.since AND i.until - interval \'1 us\')' : '');
	return $node->safe_psql('postgres', "SELECT (SELECT count(*) FROM (TABLE $schema.$name EXCEPT ALL $want) x) + (SELECT count(*) FROM ($want EXCEPT ALL TABLE $schema.$name) x)");
}

my @events = (
	sub { return "SELECT etl.ingest('S.f', '" . facts(1 + int(rand(8))) . "')" },
	sub { return "SELECT etl.ingest('S.f', '" . facts(1) . "')" },
	sub { return "SELECT etl.ingest('S.e', '" . facts(1 + int(rand(5))) . "')" },
	sub { return "SELECT etl.ingest('S.e', '" . facts(1) . "')" },
	sub { return "SELECT etl.ingest('S.d', '" . dims() . "')" },
	sub { return 'DELETE FROM S.e WHERE id = ' . int(rand(30)) },
	sub { return 'DELETE FROM S.d WHERE id = ' . int(rand(6)) },
	sub { return "SELECT etl.reset_intervals('S.' || '" . pick(map { $_->[0] } @shapes) . "', '2026-01-03', '2026-01-06')" },
	sub { return q{INSERT INTO S.t VALUES (date '2026-01-01' + } . int(rand(12)) . ')' },
	sub { return 'DELETE FROM S.t' },
	sub { return q{CALL etl.run('S.*', since => '2026-01-02', until => '2026-01-04')} },
	sub { return q{CALL etl.run('S.}  . pick(map { $_->[0] } @shapes) . q{', full_refresh => true)} },
	'time', 'time', 'redefine', 'late', 'kill');

my ($histories, $steps, $wrong, $failing, %actions) = (0, 0, 0, 0);
my $begin_at = time;
while (time - $begin_at < $seconds && $wrong == 0)
{
	my $schema = "h$histories";
	my $day = 4 + int(rand(4));
	my %begin;

	srand($seed + $histories);
	$node->safe_psql('postgres', "CREATE SCHEMA $schema; CREATE TABLE $schema.t (day date);"
		  . join('', map { "SELECT etl.define_stream('$schema.$_', 'push', columns => 'id int, k text, did int, ts timestamptz, amt int'"
			  . ($_ eq 'e' ? ", key => '{id}', mode => 'merge'" : '') . ');' . "SELECT etl.ingest('$schema.$_', '" . facts(12) . "');" } 'f', 'e')
		  . "SELECT etl.define_stream('$schema.d', 'push', columns => 'id int, name text', key => '{id}', mode => 'merge');"
		  . "SELECT etl.ingest('$schema.d', '" . dims() . "')");
	%begin = define($schema);

	for my $step (1 .. 8)
	{
		my $now = sprintf("SET etl.test_now = '2026-01-%02d %02d:30Z';", $day, int(rand(24)));
		my $event = $step == 1 ? undef : pick(@events);
		my $told = $event // 'begin';

		if (ref $event)
		{
			($told = $event->()) =~ s/S\./$schema./g;
			$node->psql('postgres', "SET client_min_messages = error; $now $told");
		}
		$day++ if $told eq 'time';
		%begin = define($schema) if $told eq 'redefine';
		if ($told eq 'late')
		{
			# a load that began before a run commits after it
			my $late = $node->background_psql('postgres');
			$late->query_safe("BEGIN; SELECT etl.ingest('$schema.f', '" . facts(3) . "')");
			$node->psql('postgres', "SET client_min_messages = error; SET lock_timeout = '3 s'; $now CALL etl.run('$schema.rows $schema.days $schema.united')");
			$late->query_safe('COMMIT');
			$late->quit;
		}
		if ($told eq 'kill')
		{
			my ($in, $out, $err) = ("SELECT pg_backend_pid(); $now CALL etl.run('$schema.*');\n", '', '');
			my $session = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out, '2>', \$err);
			$session->pump until $out =~ /(\d+)\n/;
			Time::HiRes::usleep(int(rand(120_000)));
			$node->psql('postgres', "SELECT pg_terminate_backend($1)");
			eval { $session->finish };
		}
		# what fails is tried again by the next run; the model of trouble may go on failing
		$node->psql('postgres', "SET client_min_messages = error; $now CALL etl.run('$schema.*')");
		for my $shape (@shapes)
		{
			my $open = $node->safe_psql('postgres', "SELECT count(*) FROM etl.intervals WHERE target = '$schema.$shape->[0]' AND status <> 'done'");
			my ($action, $error) = split(/\|/, $node->safe_psql('postgres',
				"SELECT action, error FROM etl.tasks WHERE node = '$schema.$shape->[0]' ORDER BY task_id DESC LIMIT 1"));
			my $different;

			$actions{$action}++;
			if ($shape->[0] eq 'trouble' && ($error // '') ne '')
			{
				$failing++;
				next;
			}
			$different = eval { differences($schema, $shape, $begin{ $shape->[0] }) } // 'all';
			next if $open eq '0' && $different eq '0' && ($error // '') eq '';
			$wrong++;
			diag("seed " . ($seed + $histories) . ", step $step ($told), $shape->[0]: $different rows differ, $open intervals open, " . ($error // ''));
			diag($node->psql('postgres', "SELECT 'model', m::text FROM $schema.$shape->[0] m UNION ALL SELECT 'definition', batch_size::text || coalesce(' ' || lookback::text, '') || options::text FROM etl.model WHERE target = '$schema.$shape->[0]'
				UNION ALL SELECT 'interval', i::text FROM etl.intervals i WHERE target = '$schema.$shape->[0]' UNION ALL SELECT 'task', t::text FROM etl.tasks t WHERE node = '$schema.$shape->[0]'
				UNION ALL SELECT 'e', e::text FROM $schema.e")) if $ENV{ETL_SEED};
		}
		$steps++;
		last if $wrong;
	}
	last if $wrong || $steps * @shapes >= $cases;
	$node->safe_psql('postgres', "SET client_min_messages = error; SELECT etl.drop_model(target, cascade => true, drop_relation => true) FROM etl.models WHERE target LIKE '$schema.%' ORDER BY target = '$schema.days';");
	$histories++;
}
diag($steps * @shapes . ' cases');
is($wrong, 0, "$histories histories of 8 steps and " . @shapes . ' models, from seed ' . $seed);
diag("$steps steps; actions: " . join(', ', map { "$_ $actions{$_}" } sort keys %actions) . "; failing $failing");
cmp_ok($actions{incremental} // 0, '>', ($actions{full} // 0) / 2, 'most of them were built interval by interval');
$node->stop;
done_testing();
