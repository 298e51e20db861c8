# Every shape that must be incremental writes no more than what differs, and reads no more of a longer history, whatever happens to its inputs.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Shapes qw(@upstream %must);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# the plainest form of each shape: the first of what could be picked
{
	no warnings 'redefine';
	*Etl::Shapes::pick = sub { return $_[0] };
	*Etl::Shapes::some = sub { return @_ > 1 ? @_[0, 1] : @_ };
}

my %rows = (short => 5_000, long => 20_000);

my $node = PostgreSQL::Test::Cluster->new('written');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\ntimezone = 'UTC'\n");
$node->start;
$node->safe_psql('postgres', q(
	CREATE EXTENSION etl;
	SELECT etl.define_source('push', 'push');
	-- facts, as many to a key however many there are
	CREATE FUNCTION facts(first int, last int) RETURNS jsonb LANGUAGE sql AS $$
		SELECT jsonb_agg(jsonb_build_object('id', i, 'k', 'k' || i / 5, 'cat', i / 7, 'did', i / 10, 'ts', timestamp '2026-01-01' + i * interval '10 min', 'amt', i % 97))
		FROM generate_series(first, last) AS i $$;
	CREATE FUNCTION dims(last int) RETURNS jsonb LANGUAGE sql AS $$
		SELECT jsonb_agg(jsonb_build_object('id', i, 'name', 'n' || i, 'country', 'c' || i, 'grp', i / 4)) FROM generate_series(0, last) AS i $$;
	-- tuples written to a table, and pages of all tables of a schema that were looked at
	CREATE FUNCTION written(name text) RETURNS bigint LANGUAGE sql AS $$
		SELECT n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_all_tables WHERE relid = name::regclass $$;
	CREATE FUNCTION looked_at(name text) RETURNS numeric LANGUAGE sql AS $$
		SELECT sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0)) FROM pg_statio_all_tables WHERE schemaname = name $$;));

my $columns = 'id int, k text, cat int, did int, ts timestamp, amt numeric, deleted_at date';

# models makes the models of a schema whose facts are those of an input: f, r, or e through a view without what is deleted softly.
sub models
{
	my ($schema, $input) = @_;
	my @models = map { { name => $_->[0], key => $_->[1], query => $_->[2] } } $input eq 'v' ? @upstream : ();

	for my $kind (sort keys %must)
	{
		my ($key, $query) = $must{$kind}->();

		push @models, { name => $kind, key => $key, query => $query };
	}
	for my $model (@models)
	{
		$model->{input} = $input;
		$model->{query} =~ s/\bS\.[feb]\b/S.$input/g;
		$model->{query} =~ s/\bS\./$schema./g;
		$model->{query} =~ s/\s+/ /g;
		# what the next model joins it by, and the rest of a key that begins with a constant
		$model->{index} = { fm => 'did', united => 'id' }->{ $model->{name} };
		$model->{name} .= "_$input" if $input ne 'v';
	}
	return @models;
}

# prepare makes a schema with so many facts, and its models.
sub prepare
{
	my ($schema, $n) = @_;
	my @models = map { models($schema, $_) } $schema eq 'short' ? ('v', 'f', 'r') : ('v', 'f');
	my $dims = $n / 10;

	$node->safe_psql('postgres', "SET client_min_messages = error; CREATE SCHEMA $schema;
		SELECT etl.define_stream('$schema.f', 'push', columns => '$columns');
		SELECT etl.define_stream('$schema.e', 'push', columns => '$columns', key => '{id}', mode => 'merge');
		SELECT etl.define_stream('$schema.r', 'push', columns => '$columns', mode => 'replace');
		SELECT etl.define_stream('$schema.d', 'push', columns => 'id int, name text, country text, grp int', key => '{id}', mode => 'merge');
		SELECT etl.ingest('$schema.f', facts(1, $n)), etl.ingest('$schema.e', facts(1, $n)), etl.ingest('$schema.r', facts(1, 200)), etl.ingest('$schema.d', dims($dims));
		CREATE VIEW $schema.v AS SELECT * FROM $schema.e WHERE deleted_at IS NULL;"
		  . join('', map { my $s = $_; map { "CREATE INDEX ON $schema.$s ($_);" } 'id', 'k', 'cat', 'did', '(ts::date)', '(cat % 2)' } 'f', 'e')
		  . "CREATE INDEX ON $schema.d (grp); CREATE INDEX ON $schema.d (country);"
		  . join('', map { "SELECT etl.define_model('$schema.$_->{name}', \$q\$$_->{query}\$q\$, 'incremental', '{$_->{key}}', options => '{\"indexes\": ["
			  . ($_->{index} ? "[\"$_->{index}\"]" : '') . "]}');" } @models)
		  . "ANALYZE; CALL etl.run('$schema.*', exclude => '$schema.f $schema.e $schema.r $schema.d'); ANALYZE;");
	return @models;
}

# What happens to which inputs, to fact 3000 and others near it, which every history has.
my @events = (
	[ 'new rows' => q{SELECT etl.ingest('S.f', facts(N + 1, N + 3)), etl.ingest('S.e', facts(N + 1, N + 3))} ],
	[ 'late rows' => q{SELECT etl.ingest(s, '[{"id": 100001, "k": "k600", "cat": 428, "did": 300, "ts": "2026-01-21T20:00:00", "amt": 3}]') FROM unnest('{S.e,S.f}'::text[]) AS s} ],
	[ 'corrections' => q{SELECT etl.ingest('S.e', '[{"id": 3000, "k": "k600", "cat": 428, "did": 301, "ts": "2026-01-21T20:00:00", "amt": 333}, {"id": 3002, "k": "k700", "cat": 428, "did": 300, "ts": "2026-01-21T20:00:00", "amt": 7}]')} ],
	[ 'hard deletes' => q{DELETE FROM S.e WHERE id IN (3001, 3005)} ],
	[ 'soft deletes' => q{SELECT etl.ingest('S.e', '[{"id": 3003, "k": "k600", "cat": 429, "did": 300, "ts": "2026-01-21T20:30:00", "amt": 1, "deleted_at": "2026-02-02"}]')} ],
	[ 'a dimension that changes' => q{SELECT etl.ingest('S.d', '[{"id": 300, "name": "new", "country": "c1", "grp": 75}, {"id": 3, "name": "three", "country": "c3", "grp": 75}]')} ],
	[ 'absent from a complete pull' => q{SELECT etl.ingest('S.r', (SELECT jsonb_agg(r) FROM jsonb_array_elements(facts(1, 200)) AS r WHERE (r ->> 'id')::int NOT IN (30, 31, 100)))} ]);

# measure lets something happen in a schema, runs its models one by one, and returns what each did.
sub measure
{
	my ($schema, $event, @models) = @_;
	my $sql = $event =~ s/\bS\./$schema./gr =~ s/\bN\b/$rows{$schema}/gr;
	my @did;

	$sql = "SET client_min_messages = error; SET stats_fetch_consistency = none; $sql;\n";
	for my $model (@models)
	{
		my $name = "$schema.$model->{name}";
		my $differ = $schema eq 'long' ? 0 : "(SELECT count(*) FROM ((TABLE $name EXCEPT ALL ($model->{query})) UNION ALL (($model->{query}) EXCEPT ALL TABLE $name)) x)";

		$sql .= "WITH q AS MATERIALIZED ($model->{query}) SELECT count(DISTINCT ($model->{key})) AS keys FROM ((TABLE $name EXCEPT ALL TABLE q) UNION ALL (TABLE q EXCEPT ALL TABLE $name)) x \\gset\n"
		  . "SELECT pg_stat_force_next_flush();\nSELECT written('$name') AS w, looked_at('$schema') AS l \\gset\n"
		  . "CALL etl.run('$name');\nSELECT pg_stat_force_next_flush();\n"
		  . "SELECT concat_ws('|', 'did', '$model->{name}', t.action, :keys, written('$name') - :w, looked_at('$schema') - :l,
			$differ, t.reason)
			FROM etl.tasks t WHERE run_id = etl.last_run_id();\n";
	}
	for my $line (split(/\n/, $node->safe_psql('postgres', $sql)))
	{
		my ($did, $name, @values) = split(/\|/, $line);

		push @did, [ $name, @values ] if ($did // '') eq 'did';
	}
	return @did;
}

my %models = map { $_ => [ prepare($_, $rows{$_}) ] } sort keys %rows;
my $driven = 0;
for my $event (@events)
{
	my ($what, $sql) = @$event;
	my %inputs = map { $_ => 1 } $what =~ /pull/ ? 'r' : $what =~ /rows/ ? ('v', 'f') : 'v';
	my %did = map {
		my $schema = $_;
		$schema => [ measure($schema, $sql, grep { $inputs{ $_->{input} } } @{ $models{$schema} }) ]
	} $inputs{r} ? 'short' : sort keys %rows;
	my @wrong;

	for my $schema (sort keys %did)
	{
		for my $did (@{ $did{$schema} })
		{
			my ($name, $action, $keys, $written, undef, $differ, $reason) = @$did;

			$driven += $action eq 'incremental';
			push @wrong, "$schema.$name: $action, $reason" if $action ne 'incremental' && $action ne 'unchanged';
			push @wrong, "$schema.$name: $written tuples written for $keys keys that differ" if $written > 2 * $keys;
			push @wrong, "$schema.$name: $differ rows are not what its query yields" if $differ != 0;
		}
	}
	for my $i (0 .. ($inputs{r} ? -1 : $#{ $did{long} }))
	{
		my ($short, $long) = map { $did{$_}[$i][4] } 'short', 'long';

		push @wrong, "$did{long}[$i][0]: $long pages, and $short where the history is a quarter as long" if $long > 1.5 * $short + 30;
	}
	is(join("\n", @wrong), '', "$what: only what differs is written, and the length of the history does not matter");
	note("$what: " . join(', ', map { "$_->[0] $_->[3]/$_->[2] $_->[4]" } @{ $did{long} // $did{short} }));
}
cmp_ok($driven, '>=', 150, "$driven builds followed what changed");
$node->stop;
done_testing();
