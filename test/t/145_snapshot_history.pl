# After any history of changes a snapshot holds the versions that a plain model of it, kept in Perl, holds.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $histories = $ENV{ETL_HISTORIES} // 4;
my $steps = $ENV{ETL_STEPS} // 9;
my $seed = $ENV{ETL_SEED} // int(time);
srand($seed);
diag("seed $seed");

my $node = PostgreSQL::Test::Cluster->new('snapshots');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\ntimezone = 'UTC'\n");
$node->start;
$node->safe_psql('postgres', q(
	CREATE EXTENSION etl;
	SELECT etl.define_source('push', 'push');
	-- hours since 2026 as a moment, microseconds since 2026 of a moment
	CREATE FUNCTION h(int) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
		$$SELECT timestamptz '2026-01-01 00:00Z' + $1 * interval '1 hour'$$;
	CREATE FUNCTION us(timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE AS
		$$SELECT (extract(epoch FROM $1 - timestamptz '2026-01-01 00:00Z') * 1000000)::bigint$$;));

use constant HOUR => 3600 * 1000000;

# ---- the model of a snapshot: per key a list of versions [from, to, at, a, b, deleted] in order ----

sub differ { return join('|', map { $_ // '~' } @{ $_[0] }) ne join('|', map { $_ // '~' } @{ $_[1] }) }
sub greatest { my ($x, $y) = @_; return $x > $y ? $x : $y }

# last_of returns the current version, if there is one, and the end of the last.
sub last_of
{
	my ($versions) = @_;
	my $last = @$versions ? $versions->[-1] : undef;

	return ($last && !defined $last->{to} ? $last : undef, $last ? $last->{to} : undef);
}

# observe puts a row that holds since 'at' into the versions of its key.
sub observe
{
	my ($versions, $at, $row) = @_;
	my $i = 0;

	$i++ while $i < @$versions && $versions->[$i]{from} < $at;
	if ($i < @$versions && $versions->[$i]{from} == $at)
	{
		$versions->[$i]{row} = $row unless $versions->[$i]{deleted};
		return;
	}
	my $new = { from => $at, to => $i < @$versions ? $versions->[$i]{from} : undef, row => $row };
	my $before = $i > 0 ? $versions->[ $i - 1 ] : undef;
	if ($before && (!defined $before->{to} || $before->{to} > $at))
	{
		$new->{to} = $before->{to};
		$before->{to} = $at;
	}
	splice(@$versions, $i, 0, $new);
}

# close_key ends the current version of a key that is gone.
sub close_key
{
	my ($versions, $now, $deletes) = @_;
	my ($current) = last_of($versions);

	return if $deletes eq 'ignore' || !$current || $current->{deleted};
	$current->{to} = greatest($now, $current->{from} + 1);
	push @$versions, { from => $current->{to}, to => undef, row => $current->{row}, deleted => 1 }
	  if $deletes eq 'new_record';
}

# by_timestamp merges the rows of one key, in the order of their moments.
sub by_timestamp
{
	my ($versions, $now, @rows) = @_;
	my ($current, $end) = last_of($versions);
	my $marker = $current && $current->{deleted};
	my $newest = $rows[-1];

	observe($versions, $_->{at} * HOUR, [ @$_{qw(at a b)} ]) for @rows;
	my ($at, $row) = ($newest->{at} * HOUR, [ @$newest{qw(at a b)} ]);
	if ($marker && $at <= $current->{from})
	{
		$current->{to} = greatest($now, $current->{from} + 1);
		push @$versions, { from => $current->{to}, to => undef, row => $row };
	}
	elsif (!$current && defined $end && $at < $end)
	{
		push @$versions, { from => greatest($now, $end), to => undef, row => $row };
	}
	elsif ($current && !$marker && $current->{row}[0] * HOUR < $current->{from}
		&& $at >= $current->{row}[0] * HOUR && $at < $current->{from})
	{
		$current->{row} = $row;
	}
}

# by_check compares the rows of one key with its current version.
sub by_check
{
	my ($versions, $now, $history, @rows) = @_;
	my ($current, $end) = last_of($versions);
	my $base = $current ? $current->{from} : $end;
	my $before = $current && !$current->{deleted} ? [ @{ $current->{row} }[ 1, 2 ] ] : undef;

	@rows = $rows[-1] unless $history;
	for my $i (0 .. $#rows)
	{
		my $row = $rows[$i];
		my $at = $history ? $row->{at} * HOUR : $now;
		next unless $i == $#rows || !defined $base || $at > $base;
		my $from = !defined $base || $at > $base ? $at : greatest($now, $base + 1);
		my $values = [ @$row{qw(a b)} ];
		next if $before && !differ($before, $values);
		my ($last) = last_of($versions);
		$last->{to} = $from if $last;
		push @$versions, { from => $from, to => undef, row => [ $history ? $row->{at} : undef, @$values ] };
		$before = $values;
	}
}

# ---- what is compared ----

my @models;
for my $deletes (qw(ignore invalidate new_record))
{
	for my $input (qw(p m))
	{
		push @models,
		  { name => "ts_${input}_$deletes", kind => 'timestamp', input => $input, deletes => $deletes },
		  { name => "check_${input}_$deletes", kind => 'check', input => $input, deletes => $deletes };
	}
	push @models, { name => "history_p_$deletes", kind => 'history', input => 'p', deletes => $deletes };
}
push @models, { name => 'ts_a', kind => 'timestamp', input => 'a', deletes => 'invalidate' };

sub define
{
	my ($schema, $model) = @_;
	my $key = $model->{input} eq 'p' ? 'k' : 'NULLIF(k, 0) AS k';
	my $from = "FROM $schema.$model->{input}";
	my $query = $model->{kind} eq 'check' ?
	  "SELECT DISTINCT ON (k) $key, a, b $from ORDER BY k, at DESC" : "SELECT $key, h(at) AS at, a, b $from";
	my $strategy = $model->{kind} eq 'timestamp' ? 'timestamp' : 'check';
	my $event_time = $model->{kind} eq 'check' ? '' : ", event_time => 'at'";

	$query = "SELECT k, a, b FROM (SELECT DISTINCT ON (NULLIF(k, 0)) $key, a, b $from ORDER BY NULLIF(k, 0), at DESC) x"
	  if $model->{kind} eq 'check';
	return "SELECT etl.define_model('$schema.$model->{name}', \$q\$$query\$q\$, 'snapshot', '{k}', '$strategy'"
	  . "$event_time, options => '{\"hard_deletes\": \"$model->{deletes}\"}');\n";
}

sub stored
{
	my ($schema, $model) = @_;
	my $at = $model->{kind} eq 'check' ? 'NULL::bigint' : 'us(at)';
	my $deleted = $model->{deletes} eq 'new_record' ? 'is_deleted' : 'false';

	return "SELECT concat_ws('|', coalesce(k::text, '~'), us(valid_from), coalesce(us(valid_to)::text, '~'), coalesce(($at)::text, '~'),"
	  . " coalesce(a::text, '~'), coalesce(b, '~'), is_current::int, (${deleted})::int)"
	  . " FROM $schema.$model->{name} ORDER BY k NULLS FIRST, valid_from";
}

sub expected
{
	my ($model) = @_;
	my @lines;

	for my $k (sort { $a <=> $b } keys %{ $model->{versions} })
	{
		for my $v (@{ $model->{versions}{$k} })
		{
			my ($at, $x, $y) = @{ $v->{row} };
			push @lines, join('|', $k || '~', $v->{from}, $v->{to} // '~', defined $at ? $at * HOUR : '~',
				$x // '~', $y // '~', defined $v->{to} ? 0 : 1, $v->{deleted} ? 1 : 0);
		}
	}
	return join("\n", @lines);
}

# ---- histories ----

my ($compared, %actions) = (0);

sub values_of { return (int(rand(4)) ? int(rand(3)) : undef, ('x', 'y', undef)[ int(rand(3)) ]) }
sub sql_of { return join(', ', map { defined $_ ? (/^\d+$/ ? $_ : "'$_'") : 'NULL' } @_) }
sub json_of { my ($k, $at, $x, $y) = @_; return sprintf('{"k": %d, "at": %d, "a": %s, "b": %s}', $k, $at, $x // 'null', defined $y ? "\"$y\"" : 'null') }

HISTORY: for my $number (1 .. $histories)
{
	my $schema = "s$number";
	my (%rows, %appended);		# "k,at" => [k, at, a, b]
	my $now = 20 + int(rand(10));

	$_->{versions} = {} for @models;
	$node->safe_psql('postgres', "CREATE SCHEMA $schema; CREATE TABLE $schema.p (k int, at int, a int, b text);
		SELECT etl.define_stream('$schema.m', 'push', format => 'json', columns => 'k int, at int, a int, b text', key => '{k,at}', mode => 'merge');
		SELECT etl.define_stream('$schema.a', 'push', format => 'json', columns => 'k int, at int, a int, b text');\n"
		  . join('', map { define($schema, $_) } @models));
	for my $step (1 .. $steps)
	{
		my (@sql, @merged, @new);
		my $changes = int(rand(12));

		$now += int(rand(4)) if rand() < 0.8;
		for (1 .. $changes)
		{
			my ($k, $at) = (int(rand(6)), int(rand(2)) ? $now - int(rand(5)) : int(rand($now + 3)));
			my @values = values_of();
			my $id = "$k,$at";

			if (rand() < 0.25 || ($step > 1 && rand() < 0.1))
			{
				# a row goes, or all rows of a key
				my $whole = rand() < 0.5;
				my @gone = grep { $whole ? /^$k,/ : $_ eq $id } keys %rows;

				next if !@gone || grep { my $g = $_; grep { $_ eq $g } @merged } @gone;
				delete @rows{@gone};
				my $where = $whole ? 'true' : "at = $at";
				push @sql, "DELETE FROM $schema.p WHERE coalesce(k, 0) = $k AND $where;",
				  "DELETE FROM $schema.m WHERE k = $k AND $where;";
				next;
			}
			push @sql, "DELETE FROM $schema.p WHERE coalesce(k, 0) = $k AND at = $at;",
			  "INSERT INTO $schema.p VALUES (NULLIF($k, 0), $at, " . sql_of(@values) . ");",
			  "SELECT etl.ingest('$schema.m', '[" . json_of($k, $at, @values) . "]');";
			$rows{$id} = [ $k, $at, @values ];
			next if $appended{$id};
			$appended{$id} = [ $k, $at, @values ];
			push @new, json_of($k, $at, @values);
		}
		push @sql, "SELECT etl.ingest('$schema.a', '[" . join(', ', @new) . "]');" if @new;
		push @sql, "SELECT etl.ingest('$schema.m', '[]'), etl.ingest('$schema.a', '[]');" if $step == 1;
		$node->safe_psql('postgres', join("\n", @sql)) if @sql;

		my $time = "h($now)";
		my $refresh = rand() < 0.1 ? ', full_refresh => true' : '';
		my ($code, $out, $err) = $node->psql('postgres',
			"SELECT set_config('etl.test_now', h($now)::text, false); CALL etl.run('$schema.*'$refresh);");
		if ($code != 0)
		{
			fail("history $number, step $step: $err");
			next HISTORY;
		}

		my %by_input;
		push @{ $by_input{a}{ $_->[0] } }, $_ for values %appended;
		push @{ $by_input{m}{ $_->[0] } }, $_ for values %rows;
		$by_input{p} = $by_input{m};
		for my $model (@models)
		{
			my $input = $by_input{ $model->{input} } // {};

			for my $k (keys %$input)
			{
				my @these = map { { at => $_->[1], a => $_->[2], b => $_->[3] } } sort { $a->[1] <=> $b->[1] } @{ $input->{$k} };
				my $versions = $model->{versions}{$k} //= [];

				if ($model->{kind} eq 'timestamp') { by_timestamp($versions, $now * HOUR, @these) }
				else { by_check($versions, $now * HOUR, $model->{kind} eq 'history', @these) }
			}
			close_key($model->{versions}{$_}, $now * HOUR, $model->{deletes}) for grep { !$input->{$_} } keys %{ $model->{versions} };
			my $is = $node->safe_psql('postgres', stored($schema, $model));
			$compared++;
			next if $is eq expected($model);
			is($is, expected($model), "history $number, step $step: $schema.$model->{name} at $now");
			next HISTORY;
		}
	}
	pass("history $number");
	$actions{$_}++ for split /\n/, $node->safe_psql('postgres',
		"SELECT regexp_replace(node, '^$schema\\.([a-z]+_[a-z]).*', '\\1') || ' ' || action FROM etl.tasks
		 WHERE kind = 'model' AND node LIKE '$schema.%'");
}
diag(join(', ', map { "$_: $actions{$_}" } sort keys %actions));
ok($compared >= $histories * $steps * @models || !Test::More->builder->is_passing, "$compared comparisons");
ok(($actions{"$_ incremental"} // 0) > 0, "$_ followed what changed") for qw(ts_m check_m ts_a);

# a run that nothing happened before writes nothing
$node->safe_psql('postgres', 'CREATE TABLE before AS SELECT xmin::text AS x, ctid AS c, * FROM s1.ts_p_invalidate');
$node->safe_psql('postgres', "CALL etl.run('s1.*')");
is($node->safe_psql('postgres', 'SELECT count(*) FROM before FULL JOIN s1.ts_p_invalidate n ON before.c = n.ctid AND before.x = n.xmin::text WHERE before.c IS NULL OR n.ctid IS NULL'),
	0, 'a run without changes writes nothing');
$node->stop;
done_testing();
