# Whatever its history, a model whose unique checks put rows aside holds the rows of a full refresh, and has its open rejects.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# ETL_SEED is that of the first history, ETL_HISTORIES says how many there are, ETL_STEPS how long
my $seed = $ENV{ETL_SEED} // 1;
my $histories = $ENV{ETL_HISTORIES} // 3;
my $steps = $ENV{ETL_STEPS} // 8;

my $node = PostgreSQL::Test::Cluster->new('quarantine');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\ntimezone = 'UTC'\n");
$node->start;
$node->safe_psql('postgres', q{CREATE EXTENSION etl; SELECT etl.define_source('push', 'push')});

# Of each model: its query over S.e merge, S.r replace, S.ap append, S.d dimension and S.T_ other models of its twin; the other arguments.
my $columns = 'ts, a, b, c, s';
my $parts = q("partition_by": {"range": "ts", "interval": "1 day"});
my %models = (
	keyed => [ "SELECT id, $columns, j FROM S.e", q(key => '{id}') ],
	joined => [ 'SELECT e.id, e.a, d.label AS b, e.c, e.s FROM S.e e LEFT JOIN S.d d ON d.k = e.c', q(key => '{id}') ],
	replaced => [ "SELECT id, $columns FROM S.r", q(key => '{id}') ],
	parts => [ "SELECT id, $columns FROM S.e", qq(key => '{id,ts}', options => '{$parts}') ],
	parts_only => [ "SELECT id, ts::date AS ts, a, b, c, s FROM S.e", qq(strategy => 'partition_replace', options => '{$parts}') ],
	days => [ "SELECT id, $columns FROM S.e", q(key => '{id}', event_time => 'ts', batch_size => '1 day') ],
	days_indexed => [ 'SELECT id, ts, a, b, c, s FROM S.e WHERE id > 3', q(key => '{id}', event_time => 'ts', batch_size => '1 day', options => '{"unique": [["a"]]}') ],
	two_days => [ "SELECT id, $columns FROM S.e", q(key => '{id,ts}', event_time => 'ts', batch_size => '2 days', lookback => '2 days') ],
	days_begun => [ "SELECT id, $columns FROM S.e", q(event_time => 'ts', batch_size => '1 day', options => '{"begin": "2026-03-03"}') ],
	days_unkeyed => [ "SELECT id % 7 AS id, $columns FROM S.e", q(event_time => 'ts', batch_size => '1 day') ],
	days_json => [ "SELECT $columns, j, ARRAY[a, b] AS list FROM S.e", q(event_time => 'ts', batch_size => '3 days') ],
	days_joined => [ 'SELECT e.id, e.ts, e.a, d.label AS b, e.c, e.s FROM S.e e LEFT JOIN S.d d ON d.k = e.c', q(event_time => 'ts', batch_size => '1 day') ],
	days_parts => [ "SELECT id, $columns FROM S.e", qq(event_time => 'ts', batch_size => '1 day', options => '{$parts}') ],
	days_replaced => [ "SELECT id, $columns FROM S.r", q(event_time => 'ts', batch_size => '2 days') ],
	days_added => [ "SELECT n AS id, $columns FROM S.ap", q(event_time => 'ts', batch_size => '1 day') ],
	added => [ 'SELECT n % 9 AS id, a, b, c, s FROM S.ap', q(strategy => 'append') ],
	added_json => [ 'SELECT n AS id, a, b, c, s, j FROM S.ap', q(strategy => 'append') ],
	added_keyed => [ 'SELECT n AS id, a, b, c, s FROM S.ap', q(key => '{id}', strategy => 'append') ],
	zread => [ "SELECT id, $columns FROM S.T_days", q(key => '{id}') ],
	zread_days => [ "SELECT id, $columns FROM S.T_zread", q(event_time => 'ts', batch_size => '1 day') ]);
my @names = sort grep { /$ENV{ETL_MODELS}/ } keys %models if $ENV{ETL_MODELS};
@names = sort keys %models unless @names;

# pick returns one of its arguments; json writes one of them, text in quotes.
sub pick
{
	return $_[int(rand(@_))];
}

sub json
{
	my $value = pick(@_);

	return defined $value ? qq("$value") : 'null';
}

# row makes a row as JSON.
sub row
{
	my ($key, $id) = @_;

	return sprintf('{"%s": %d, "ts": "2026-03-%02dT%02d:00:00Z", "a": %s, "b": %s, "c": %s, "s": %s, "j": %s}', $key, $id, 1 + int(rand(8)), int(rand(24)),
		json('a', 'b', 'c', 'x', undef), json('k', 'l', 'm', undef), pick(1 .. 4, 'null'), pick(0 .. 9, 'null', '2.50'), pick('null', '{"z": 1, "a": null}', '[1, 2]', '"t"'));
}

# rows makes rows of a merge or replace stream.
sub rows
{
	my %ids = map { 1 + int(rand(12)) => 1 } 1 .. $_[0];

	return map { row('id', $_) } sort keys %ids;
}

# twins calls a function for both twins of a model.
sub twins
{
	my ($call) = @_;

	return join('', map { (my $one = $call) =~ s/\bT_/$_\_/g; "DO \$do\$ BEGIN PERFORM $one; END \$do\$;\n" } qw(i f));
}

# define defines a model.
sub define
{
	my ($name, $more) = @_;
	my ($query, $arguments) = @{$models{$name}};

	$query =~ s/ FROM /$more FROM / if $more;
	return twins("etl.define_model('S.T_$name', \$q\$$query\$q\$, 'incremental', $arguments)");
}

# unique defines a unique check of some columns.
sub unique
{
	my ($name, $columns) = @_;
	my $order = pick('', '', 's', 's DESC NULLS LAST', 'c DESC, s', 'a DESC');
	my @options = $order ? qq("order_by": "$order") : ();

	# its index would refuse two of them
	push @options, q("where": "a <> 'x'") if rand() < 0.2 && $name ne 'days_indexed';
	return twins("etl.define_check('S.T_$name', 'unique', '{$columns}', \$o\${" . join(', ', @options) . "}\$o\$, on_fail => 'quarantine')");
}

# ingest lets rows come.
sub ingest
{
	my ($stream, @rows) = @_;

	return "SELECT etl.ingest('S.$stream', \$j\$[" . join(', ', @rows) . "]\$j\$) < 0 AS nothing \\gset\n";
}

# settle brings both twins of all models up to date, and shows how they differ.
sub settle
{
	my ($what) = @_;

	return "CALL etl.run('S.i_*');\nCALL etl.run('S.f_*', full_refresh => true);\nSELECT '$what', * FROM S.differences();\n";
}

# history writes a whole history.
sub history
{
	my $n = 0;
	my $script = <<'SQL';
SET client_min_messages = error;
SET etl.test_now = '2026-03-12 12:00:00+00';
CREATE SCHEMA S;
SELECT etl.define_stream('S.e', 'push', key => '{id}', mode => 'merge', columns => 'id int, ts timestamptz, a text, b text, c int, s numeric(6,2), j jsonb') \gset
SELECT etl.define_stream('S.r', 'push', key => '{id}', mode => 'replace', columns => 'id int, ts timestamptz, a text, b text, c int, s numeric(6,2), j jsonb') \gset
SELECT etl.define_stream('S.d', 'push', key => '{k}', mode => 'merge', columns => 'k int, label text') \gset
SELECT etl.define_stream('S.ap', 'push', columns => 'n int, ts timestamptz, a text, b text, c int, s numeric(6,2), j jsonb') \gset
CREATE FUNCTION S.differences() RETURNS TABLE (model text, what text, twin text, "row" text) LANGUAGE plpgsql AS $$
DECLARE
	name text;
BEGIN
	FOR name IN SELECT split_part(target, '.i_', 2) FROM etl.models WHERE target LIKE 'S.i\_%' ORDER BY 1 LOOP
		RETURN QUERY EXECUTE format($q$
			WITH i AS (SELECT 'row' AS what, x::text AS r FROM S.%1$I x UNION ALL
				SELECT 'reject', r.record || ' ' || r.reasons FROM etl.rejects r WHERE target = 'S.' || %1$L AND status = 'open'),
			f AS (SELECT 'row' AS what, x::text AS r FROM S.%2$I x UNION ALL
				SELECT 'reject', r.record || ' ' || r.reasons FROM etl.rejects r WHERE target = 'S.' || %2$L AND status = 'open')
			SELECT %3$L, d.* FROM (SELECT what, 'only followed', r FROM (TABLE i EXCEPT ALL TABLE f) x UNION ALL
				SELECT what, 'only refreshed', r FROM (TABLE f EXCEPT ALL TABLE i) x) d ORDER BY 1, 2, 3, 4$q$,
			'i_' || name, 'f_' || name, name);
	END LOOP;
END $$;
SQL
	for my $name (@names)
	{
		my %columns = map { pick('a', 'b', 'c', 'a,b', 'b,c') => 1 } 1 .. pick(1, 1, 2, 2, 3);

		$columns{a} = 1 if $name eq 'days_indexed';
		$script .= define($name) . join('', map { unique($name, $_) } sort keys %columns);
		$script .= twins("etl.define_check('S.T_$name', 'range', '{s}', '{\"min\": 1}', on_fail => 'quarantine')") if rand() < 0.4;
		$script .= twins("etl.define_check('S.T_$name', 'unique', '{c}', '{}', on_fail => 'warn', name => 'warned')") if rand() < 0.3;
	}
	$script .= ingest('d', map { "{\"k\": $_, \"label\": " . json('k', 'l', 'm') . '}' } 1 .. 4);
	$script .= ingest('e', rows(8)) . ingest('r', rows(8)) . ingest('ap', map { row('n', ++$n) } 1 .. 4) . settle('at first');
	for my $step (1 .. $steps)
	{
		my @events = map { pick('e', 'e', 'e', 'r', 'ap', 'ap', 'one goes', 'some go', 'd', 'other query') } 1 .. pick(1, 1, 2, 3);

		for (@events)
		{
			$script .= ingest('e', rows(3)) if $_ eq 'e';
			$script .= ingest('r', rows(8)) if $_ eq 'r';
			$script .= ingest('ap', map { row('n', ++$n) } 1 .. pick(1, 2, 3)) if $_ eq 'ap';
			$script .= ingest('d', '{"k": ' . pick(1 .. 4) . ', "label": ' . json('k', 'l', 'm') . '}') if $_ eq 'd';
			$script .= 'DELETE FROM S.e WHERE id = ' . (1 + int(rand(12))) . ";\n" if $_ eq 'one goes';
			$script .= 'DELETE FROM S.e WHERE id % 4 = ' . int(rand(4)) . ";\n" if $_ eq 'some go';
			$script .= define(pick(@names), pick('', ', 1 AS one')) if $_ eq 'other query' && rand() < 0.3;
		}
		$script .= settle("step $step: @events");
	}
	$script .= q{SELECT 'no step was followed' WHERE (SELECT count(*) FROM etl.tasks WHERE node LIKE 'S.i\_%' AND action = 'incremental') < 20;} . "\n";
	$script .= q{SELECT 'nothing came back' WHERE (SELECT count(*) FROM etl.rejects WHERE target LIKE 'S.i\_%' AND status = 'superseded') < 20;} . "\n" unless $ENV{ETL_MODELS};
	return $script;
}

for my $i ($seed .. $seed + $histories - 1)
{
	srand($i);
	my $schema = "q$i";
	(my $script = history()) =~ s/\bS(?=[.;])/$schema/g;
	my ($out, $err);

	$node->psql('postgres', $script, stdout => \$out, stderr => \$err, extra_params => [ '-v', 'VERBOSITY=terse', '-v', 'ON_ERROR_STOP=0' ]);
	# where one thing is wrong, all that follows is
	my @lines = split(/\n/, "$err$out");
	is(join("\n", @lines[ 0 .. ($#lines < 9 ? $#lines : 9) ]), '', "history $i");
}
$node->stop;
done_testing();
