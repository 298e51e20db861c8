# The shapes of queries that incremental models are tested with, and what each of them means for people.
package Etl::Shapes;
use strict;
use warnings;

use Exporter 'import';

our @EXPORT_OK = qw(pick some turn @upstream @middle %must %may %words);

# Queries are over schema S: f and b are append streams of facts, e a merge and r a replace stream of them, d a merge stream of
# dimension rows.  Facts have id, k, cat, did, ts, amt; dimension rows id, name, country, grp.  A row that is gone at its source
# comes with deleted_at, and is left out by lv (of e), dl (of d) and sm (of b).  Whatever a shape reads there is a relation to read
# that follows from each of the inputs.

# pick returns one of its arguments.
sub pick
{
	return $_[int(rand(@_))];
}

# some returns a random choice of its arguments, at least one, in their order.
sub some
{
	my @chosen = grep { rand() < 0.5 } @_;

	return @chosen ? @chosen : pick(@_);
}

# turn makes the next relation that a query reads the one whose turn it is, so that a row of turns leaves out none, or the last of
# them, which follows from every input; those after it are picked.
my $turn;

sub turn
{
	($turn) = @_;
	return;
}

# relation returns the relation whose turn it is, or one of them.
sub relation
{
	my $chosen = !defined $turn ? pick(@_) : $turn eq 'last' ? $_[-1] : $_[$turn % @_];

	$turn = undef;
	return "S.$chosen";
}

# models that others read: name, key, query
our @upstream = (
	[ 'dm', 'id', 'SELECT id, upper(name) AS name, country, grp FROM S.d WHERE grp IS DISTINCT FROM 2' ],
	[ 'fm', 'id', 'SELECT DISTINCT ON (id) id, k, cat, did, ts, amt FROM S.f WHERE id IS NOT NULL
		ORDER BY id, ts DESC NULLS LAST, k, cat, did, amt' ],
	[ 'gm', 'id', 'SELECT f.id, max(f.k) AS k, (count(*) + coalesce(max(d.grp), 0))::int AS cat, min(f.did) AS did, max(f.ts) AS ts, sum(f.amt) AS amt
		FROM S.fm f LEFT JOIN S.dm d ON d.id = f.did GROUP BY f.id' ],
	[ 'sm', 'id', 'SELECT id, k, cat, did, ts, amt FROM (SELECT DISTINCT ON (id) * FROM S.b WHERE id IS NOT NULL
		ORDER BY id, ts DESC NULLS LAST, k, cat, did, amt, deleted_at) n WHERE deleted_at IS NULL' ],
	[ 'em', 'id', 'SELECT id, k, cat, did, ts, amt FROM S.e WHERE deleted_at IS NULL AND amt IS DISTINCT FROM 3' ],
	[ 'rm', 'id', 'SELECT DISTINCT ON (id) id, k, cat, did, ts, amt FROM S.r WHERE id IS NOT NULL
		ORDER BY id, ts DESC NULLS LAST, k, cat, did, amt' ],
	[ 'xm', 'id', 'SELECT f.id, coalesce(r.k, f.k) AS k, f.cat, coalesce(b.did, e.did, f.did) AS did, coalesce(e.ts, f.ts) AS ts,
		f.amt + coalesce(r.amt, 0) + coalesce(b.amt, 0) + coalesce(e.amt, 0) + coalesce(d.grp, 0) AS amt
		FROM S.fm f LEFT JOIN S.rm r ON r.id = f.id LEFT JOIN S.sm b ON b.id = f.id LEFT JOIN S.em e ON e.id = f.id
		LEFT JOIN S.dm d ON d.id = f.did' ]);

# other kinds of models that stand between others: name, kind, key, query
our @middle = (
	[ 'v', 'view', undef, 'SELECT * FROM S.e WHERE amt > 5' ],
	[ 'lv', 'view', undef, 'SELECT * FROM S.e WHERE deleted_at IS NULL' ],
	[ 'dl', 'view', undef, 'SELECT * FROM S.d WHERE deleted_at IS NULL' ],
	[ 'jv', 'view', undef, 'SELECT f.id, f.k, f.cat, f.did, f.ts, f.amt + coalesce(d.grp, 0) + coalesce(x.amt, 0) AS amt, f.deleted_at
		FROM S.e f LEFT JOIN S.d d ON d.id = f.did LEFT JOIN S.xm x ON x.id = f.id' ],
	[ 'tm', 'table', 'id', 'SELECT id, k, cat, did, ts, amt FROM S.fm WHERE amt IS DISTINCT FROM 7' ],
	[ 'tv', 'view', undef, 'SELECT id, k, cat, did, ts, amt FROM S.tm WHERE cat IS DISTINCT FROM 4' ],
	[ 'tn', 'table', undef, 'SELECT id, k, cat, did, ts, amt FROM S.sm WHERE k IS DISTINCT FROM \'k5\' UNION ALL
		SELECT id, k, cat, did, ts, amt FROM S.rm WHERE NOT EXISTS (SELECT FROM S.dm WHERE dm.id = rm.did AND dm.grp = 1) UNION ALL
		SELECT id, k, cat, did, ts, amt FROM S.em' ],
	[ 'mm', 'materialized_view', undef, 'SELECT g.id, coalesce(r.k, b.k, g.k) AS k, g.cat, g.did, g.ts, g.amt + coalesce(e.amt, 0) AS amt
		FROM S.gm g LEFT JOIN S.rm r ON r.id = g.id LEFT JOIN S.em e ON e.id = g.id LEFT JOIN S.sm b ON b.id = g.id WHERE g.amt > 3' ],
	[ 'im', 'incremental', 'k', 'SELECT k, count(*) AS n, sum(amt) AS amt FROM S.mm GROUP BY k' ]);

my $fact = sub { return relation('f', 'b', 'e', 'r', 'fm', 'gm', 'v', 'lv', 'sm', 'rm', 'jv', 'tv', 'tn', 'xm') };
my $repeating = sub { return relation('f', 'b', 'r', 'e', 'jv') };
my $unique = sub { return relation('e', 'fm', 'gm', 'v', 'lv', 'sm', 'rm', 'tv', 'xm') };
my $dim = sub { return 'S.' . pick('d', 'd', 'dm', 'dl') };
my $join = sub { return pick('JOIN', 'LEFT JOIN') };
my $aggregates = sub {
	return join(', ', some('count(*) AS n', 'sum(f.amt) AS s', 'min(f.ts) AS first', 'max(f.amt) FILTER (WHERE f.cat = 2) AS top',
		'count(DISTINCT f.id) AS ids', 'avg(f.amt) AS mean', q(string_agg(f.k, ',' ORDER BY f.k) AS ks)));
};
my $having = sub { return pick('', '', 'HAVING count(*) > 1', 'HAVING sum(f.amt) > 60') };
my $where = sub { return pick('', '', 'WHERE f.amt > 20', "WHERE f.k <> 'k3' OR f.k IS NULL", "WHERE f.ts < '2026-01-05'") };

# the newest rows of a key, in brackets; the key need not be among what is yielded
my $newest = sub {
	my $rows = $repeating->();
	my $order = 'ts DESC NULLS LAST, k, cat, did, amt, deleted_at';

	return '(' . pick("SELECT DISTINCT ON (id) id, k, cat, did, ts, amt FROM $rows ORDER BY id, $order",
		"SELECT DISTINCT ON (x.id) k, cat, did, ts, amt, cat % 3 AS id FROM $rows x ORDER BY x.id, $order",
		"SELECT DISTINCT ON (id, cat) id, k, cat, did, ts, amt FROM $rows ORDER BY id, cat, $order",
		"SELECT * FROM (SELECT x.*, row_number() OVER (PARTITION BY id ORDER BY $order) AS rn FROM $rows x) y WHERE rn = 1 AND deleted_at IS NULL")
		. ')';
};

# Each makes (key, query); a result's key is unique by construction.
our %must = (
	projection => sub { return ('id', 'SELECT f.id, f.amt * 2 AS d, f.k FROM ' . $unique->() . ' f ' . $where->()) },
	distinct_on => sub {
		return ('k', 'SELECT DISTINCT ON (k) k, id, amt FROM ' . $fact->() . ' ORDER BY k, ts DESC NULLS LAST, id, amt') },
	row_number => sub {
		return ('k', 'SELECT k, id, amt FROM (SELECT f.*, row_number() OVER (PARTITION BY k ORDER BY ts, id, amt) AS rn FROM '
			  . $fact->() . ' f) t WHERE rn = 1') },
	row_number_dimension => sub {
		return ('k', 'SELECT n.k, n.id, n.amt, x.name FROM (SELECT f.*, row_number() OVER (PARTITION BY k ORDER BY ts DESC, id, amt) AS rn FROM '
			  . $fact->() . ' f) n ' . $join->() . ' ' . $dim->() . ' x ON x.id = n.did WHERE n.rn = 1') },
	grouped => sub {
		my %keys = (id => 'f.id', k => 'f.k', cat => 'f.cat', day => 'f.ts::date', parity => 'f.cat % 2', upper_k => 'upper(f.k)');
		my @by = some(sort keys %keys);
		return (join(',', @by), 'SELECT ' . join(', ', map { "$keys{$_} AS $_" } @by) . ', ' . $aggregates->() . ' FROM ' . $fact->()
			  . ' f ' . $where->() . ' GROUP BY ' . join(', ', 1 .. @by) . ' ' . $having->()) },
	fact_dimension => sub {
		return ('id', 'SELECT f.id, f.amt, d.name, coalesce(d.country, \'?\') AS country FROM ' . $unique->() . ' f '
			  . $join->() . ' ' . $dim->() . ' d ON d.id = f.did ' . pick('', 'AND d.grp = 1') . ' ' . $where->()) },
	by_dimension => sub {
		my %keys = (country => 'd.country', name => q(coalesce(d.name, '-')), cat => 'f.cat', day => 'f.ts::date');
		my @by = some(sort keys %keys);
		return (join(',', @by), 'SELECT ' . join(', ', map { "$keys{$_} AS $_" } @by) . ', ' . $aggregates->() . ' FROM ' . $fact->()
			  . ' f ' . $join->() . ' ' . $dim->() . ' d ON d.id = f.did ' . $where->() . ' GROUP BY ' . join(', ', 1 .. @by)
			  . ' ' . $having->()) },
	by_optional => sub {
		return ('country', 'SELECT d.country, count(*) AS n, count(d.id) AS found FROM ' . $fact->() . ' f LEFT JOIN ' . $dim->()
			  . ' d ON d.id = f.did GROUP BY 1') },
	two_dimensions => sub {
		return ('grp,k', 'SELECT e.grp, f.k, ' . $aggregates->() . ' FROM ' . $fact->() . ' f ' . $join->() . ' ' . $dim->()
			  . ' d ON d.id = f.did ' . $join->() . ' ' . $dim->() . ' e ON e.grp = d.grp AND e.id = \'3\' GROUP BY 1, 2') },
	fact_fact => sub {
		return ('id', 'SELECT f.id, count(*) AS n, sum(x.amt) AS s FROM ' . $fact->() . ' f ' . $join->() . ' ' . $fact->()
			  . ' x ON x.id = f.id GROUP BY f.id') },
	fact_grouped => sub {
		return ('id', 'SELECT f.id, f.did, g.n, coalesce(g.s, 0) AS s FROM ' . $unique->() . ' f ' . $join->()
			  . ' (SELECT did, count(*) AS n, sum(amt) AS s FROM ' . $fact->() . ' GROUP BY did) g ON g.did = f.did') },
	united => sub {
		return ('src,id', q(SELECT 'a' AS src, id, count(*) AS n FROM ) . $fact->() . q( GROUP BY id UNION ALL SELECT 'b', id, count(*) FROM )
			  . $fact->() . ' GROUP BY id') },
	group_of_union => sub {
		return ('k', 'SELECT f.k, ' . $aggregates->() . ' FROM (SELECT id, k, cat, ts, amt FROM ' . $fact->()
			  . ' UNION ALL SELECT id, k, cat, ts, -amt FROM ' . $fact->() . ') f GROUP BY f.k ' . $having->()) },
	cte => sub {
		return ('id', 'WITH n AS (SELECT DISTINCT ON (id) id, k, did, amt FROM ' . $fact->() . ' ORDER BY id, amt, k, did), x AS (SELECT * FROM '
			  . $dim->() . ') SELECT n.id, n.amt, x.name FROM n ' . $join->() . ' x ON x.id = n.did') },
	living => sub {
		return ('id', 'SELECT id, k, amt FROM (SELECT DISTINCT ON (id) id, k, amt, deleted_at FROM ' . $repeating->()
			  . ' ORDER BY id, ts DESC NULLS LAST, amt, k, deleted_at) n WHERE deleted_at IS NULL') },
	exists_ => sub {
		return ('id', 'SELECT f.id, f.amt FROM ' . $unique->() . ' f WHERE EXISTS (SELECT FROM ' . $fact->()
			  . ' x WHERE x.k = f.k AND x.amt > 50)') },
	in_ => sub {
		return ('id', 'SELECT f.id, f.amt FROM ' . $unique->() . ' f WHERE f.did IN (SELECT id FROM ' . $dim->() . " WHERE country = 'c1')") },
	window => sub {
		return ('k,id', 'SELECT k, id, sum(amt) OVER w AS total, rank() OVER (PARTITION BY k ORDER BY amt) AS place FROM ' . $unique->()
			  . ' WINDOW w AS (PARTITION BY k)') },
	newest_grouped => sub {
		my %keys = (k => 'f.k', cat => 'f.cat', day => 'f.ts::date');
		my @by = some(sort keys %keys);
		return (join(',', @by), 'SELECT ' . join(', ', map { "$keys{$_} AS $_" } @by) . ', ' . $aggregates->() . ' FROM ' . $newest->()
			  . ' f ' . $where->() . ' GROUP BY ' . join(', ', 1 .. @by) . ' ' . $having->()) },
	newest_by_dimension => sub {
		return ('country', 'SELECT d.country, ' . $aggregates->() . ' FROM ' . $newest->() . ' f ' . $join->() . ' ' . $dim->()
			  . ' d ON d.id = f.did GROUP BY 1') },
	window_of_others => sub {
		return ('id', 'SELECT id, k, lag(amt) OVER (PARTITION BY k ORDER BY ts, id) AS before, amt / nullif(sum(amt) OVER (PARTITION BY k), 0) AS share FROM '
			  . $unique->()) });

# What may refresh in full, and must be right all the same.
our %may = (
	on_matview => sub {
		return ('id', 'SELECT f.id, f.amt, m.amt AS m, i.n FROM ' . $unique->() . ' f LEFT JOIN S.mm m ON m.id = f.id '
			  . $join->() . ' S.im i ON i.k = f.k') },
	not_exists => sub {
		return ('id', 'SELECT f.id, f.amt FROM ' . $unique->() . ' f WHERE NOT EXISTS (SELECT FROM ' . $fact->()
			  . ' x WHERE x.did = f.did AND x.amt > 80)') },
	scalar => sub {
		return ('id', 'SELECT f.id, (SELECT max(amt) FROM ' . $fact->() . ' x WHERE x.k = f.k) AS m FROM ' . $unique->() . ' f') },
	anti_join => sub {
		return ('id', 'SELECT f.id, f.k FROM ' . $unique->() . ' f LEFT JOIN ' . $fact->() . ' x ON x.did = f.did AND x.cat = 1 WHERE x.did IS NULL') },
	not_in => sub {
		return ('id', 'SELECT f.id FROM ' . $unique->() . ' f WHERE f.cat NOT IN (SELECT cat FROM ' . $fact->() . ' WHERE amt > 95)') },
	total => sub { return (undef, 'SELECT count(*) AS n, sum(amt) AS s FROM ' . $fact->()) },
	full_join => sub {
		return ('id', 'SELECT coalesce(f.id, d.id) AS id, max(f.amt) AS amt, max(d.name) AS name FROM ' . $fact->() . ' f FULL JOIN '
			  . $dim->() . ' d ON d.id = f.id GROUP BY 1') },
	excepted => sub {
		return ('k', 'SELECT k FROM ' . $fact->() . ' EXCEPT SELECT k FROM ' . $fact->() . ' WHERE amt > 50') },
	limited => sub { return ('id', 'SELECT id, amt FROM ' . $unique->() . ' ORDER BY amt, id LIMIT 7') },
	by_rows => sub {
		return ('n', 'SELECT n, count(*) AS c FROM (SELECT k, count(*) AS n FROM ' . $fact->() . ' GROUP BY k) g GROUP BY n') },
	share => sub {
		return ('cat', 'SELECT cat, sum(amt) AS s, sum(sum(amt)) OVER () AS of_all FROM ' . $fact->() . ' GROUP BY cat') },
	optional_inner => sub {
		return ('id', 'SELECT f.id, x.m, d.name FROM ' . $unique->() . ' f LEFT JOIN (SELECT did, max(amt) AS m FROM ' . $fact->()
			  . ' GROUP BY did HAVING count(*) > 1) x ON x.did = f.did LEFT JOIN ' . $dim->() . ' d ON d.id::text = (x.m::int % 12)::text') },
	lateral => sub {
		return ('id', 'SELECT f.id, l.amt FROM ' . $unique->() . ' f LEFT JOIN LATERAL (SELECT x.amt FROM ' . $fact->()
			  . ' x WHERE x.k = f.k ORDER BY x.amt DESC NULLS LAST LIMIT 1) l ON true') },
	optional_country => sub {
		return ('country,name', 'SELECT d.country, e.name, count(*) AS n FROM ' . $fact->() . ' f LEFT JOIN ' . $dim->()
			  . ' d ON d.id = f.did LEFT JOIN ' . $dim->() . ' e ON e.id::text = d.grp::text GROUP BY 1, 2') });

# Each in a few words, for the table in docs/modelling.md.
our %words = (
	projection => 'filter and projection',
	distinct_on => 'newest row of a key, by DISTINCT ON',
	row_number => 'newest row of a key, by row_number() = 1',
	row_number_dimension => 'newest row of a key, by row_number() = 1, joined with a dimension',
	grouped => 'GROUP BY, with HAVING and FILTER',
	fact_dimension => 'fact joined with a dimension',
	by_dimension => 'grouped by columns of a dimension',
	by_optional => 'grouped by columns of an optional dimension',
	two_dimensions => 'grouped over two joins',
	fact_fact => 'fact joined with a fact',
	fact_grouped => 'joined with a grouped subquery',
	united => 'UNION ALL',
	group_of_union => 'grouped over a UNION ALL',
	cte => 'common table expressions',
	living => 'the newest row of a key, unless it is marked as deleted',
	exists_ => 'EXISTS',
	in_ => 'IN',
	window => 'windows partitioned by the key',
	newest_by_dimension => q(grouped by the newest row's dimension),
	window_of_others => 'windows partitioned by other columns',
	on_matview => 'joined with a materialized view',
	not_exists => 'NOT EXISTS',
	scalar => 'a scalar subquery',
	anti_join => 'anti join',
	not_in => 'NOT IN',
	total => 'an aggregate over everything',
	full_join => 'FULL JOIN',
	excepted => 'EXCEPT',
	limited => 'LIMIT',
	newest_grouped => 'grouped by what the newest row of another key says',
	by_rows => 'grouped by an aggregate',
	share => 'a window over everything',
	optional_inner => 'joined by a computed column of an optional side',
	lateral => 'LATERAL',
	optional_country => q(grouped by columns of an optional side's dimension),
);

1;
