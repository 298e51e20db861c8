# What a manifest of dbt defines is defined here, its rows are dbt's, and what has no counterpart is said.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Etl::Dbt;
use File::Copy qw(copy);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $project = "$FindBin::RealBin/../dbt";
my @relations = qw(shop.audited shop.customers shop.days shop.months shop.shipments shop.stg_customers shop.stg_orders
  shop_lists.countries shop_reports."BigOrders");
my $node = PostgreSQL::Test::Cluster->new('dbt');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nclient_min_messages = warning\ntimezone = 'UTC'\n");
$node->start;

# slurp returns what is in a file.
sub slurp
{
	my ($path) = @_;

	open(my $fh, '<', $path) or die "$path: $!";
	local $/ = undef;
	return scalar <$fh>;
}

# rows_of returns the rows of a relation as JSON, in an order.
sub rows_of
{
	my ($database, $relation) = @_;

	$relation =~ s/BigOrders/Big Orders/;
	return $node->safe_psql($database, qq{SELECT to_jsonb(t)::text FROM $relation AS t ORDER BY to_jsonb(t)::text COLLATE "C"});
}

# import imports a manifest and returns the rows of an answer about the result.
sub import
{
	my ($database, $manifest, $environment) = @_;

	copy($manifest, $node->data_dir . '/manifest.json') or die "$manifest: $!";
	$node->safe_psql($database, "SET etl.environment = '" . ($environment // '') . "';
		DROP TABLE IF EXISTS imported;
		CREATE TABLE imported AS SELECT * FROM etl.import_dbt(pg_read_file('manifest.json')::jsonb)");
	return;
}

# make_database makes a database with what the loader of the project lands.
sub make_database
{
	my ($database) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, slurp("$project/raw.sql"));
	$node->safe_psql($database, 'CREATE EXTENSION etl');
	return;
}

# make_seed makes the table of the project's seed.
sub make_seed
{
	my ($database) = @_;
	my @lines = split(/\n/, slurp("$project/seeds/countries.csv"));
	my $values = join(', ', map { my ($code, $country) = split(/,/); "('$code', '$country')" } @lines[ 1 .. $#lines ]);

	$node->safe_psql($database, "CREATE SCHEMA IF NOT EXISTS shop_lists;
		CREATE TABLE shop_lists.countries (code text, country text);
		INSERT INTO shop_lists.countries VALUES $values");
	return;
}

# is_dbts asserts that the rows of all models are dbt's.
sub is_dbts
{
	my ($database, $what) = @_;

	foreach my $relation (@relations)
	{
		(my $file = $relation) =~ s/"//g;
		my $expected = slurp("$project/expected/$file.json");
		chomp $expected;
		is(rows_of($database, $relation), $expected, "$what: the rows of $relation are dbt's");
	}
	return;
}

# A database in which dbt never was: of another name than the one that the project was compiled for.
make_database('fresh');
make_seed('fresh');
import('fresh', "$project/manifest.json");
my $units = $node->safe_psql('fresh', q{SELECT to_regproc('etl.test') IS NOT NULL}) eq 't';
$node->safe_psql('fresh', q{UPDATE imported SET action = 'created' WHERE kind = 'unit_test' AND action = 'failed'}) unless $units;
is($node->safe_psql('fresh', q{SELECT string_agg(DISTINCT detail, ' | ') FROM imported WHERE action = 'failed'}), '',
	'everything that has a counterpart is defined');
is( $node->safe_psql('fresh', q{SELECT kind, action, count(*) FROM imported GROUP BY kind, action ORDER BY kind, action}),
	join("\n", 'analysis|skipped|1', 'exposure|skipped|1', 'model|created|8', 'model|inlined|1', 'seed|skipped|1', 'snapshot|created|2',
		'source|read|3', 'test|created|9', 'unit_test|created|2', 'unit_test|skipped|2'),
	'each entry has a row');
is($node->safe_psql('fresh', q{SELECT count(*) FROM imported WHERE action IN ('skipped', 'inlined') AND detail IS NULL}), 0,
	'whoever is left out is told why');
like($node->safe_psql('fresh', q{SELECT detail FROM imported WHERE target = 'shop.audited'}), qr/a post-hook, .* template/,
	'so is what of a definition is left out');
$node->safe_psql('fresh', 'CALL etl.run()');
is_dbts('fresh', 'built anew');
is($node->safe_psql('fresh', 'SELECT count(*), count(*) FILTER (WHERE is_current) FROM shop_shop.customers_history'), '4|4',
	'a snapshot holds what its source holds');
is($node->safe_psql('fresh', q{SELECT status, count(*) FROM etl.check_results WHERE check_name NOT LIKE 'contract%' GROUP BY status}),
	'pass|9', 'every test is a check, and passes as it does in dbt');
is($node->safe_psql('fresh', q{SELECT on_fail, options FROM etl.checks WHERE name = 'not_null_customers_country'}),
	'fail|{"where": "customer_id < 4", "max_failed": 2}', 'with its severity, its condition and what it tolerates');
is( $node->safe_psql('fresh', q{SELECT materialized, strategy, event_time, batch_size, lookback, options ->> 'begin', key
		FROM etl.models WHERE target = 'shop.months'}),
	'incremental||ordered_at|1 mon|2 mons|2026-09-01T00:00:00|{order_id}', 'microbatch is a model with an interval ledger');
is($node->safe_psql('fresh', q{SELECT tags, description FROM etl.models WHERE target = 'shop.customers'}),
	q{{daily,crm}|One row a customer; what it's worth.}, 'tags and descriptions came along');
is($node->safe_psql('fresh', q{SELECT col_description('shop.customers'::regclass, 1)}), 'the key', 'those of columns, too');
is($node->safe_psql('fresh', q{SELECT count(*) FILTER (WHERE indisunique), count(*) FROM pg_index WHERE indrelid = 'shop.customers'::regclass}),
	'1|2', 'and indexes');
is($node->safe_psql('fresh', q{SELECT string_agg(DISTINCT status, ',') FROM etl.test('shop.*')}), 'pass', 'its unit tests pass') if $units;

# Again: nothing changes; what arrives is an increment, and the rows are still those of the query.
import('fresh', "$project/manifest.json");
is($node->safe_psql('fresh', q{SELECT count(*) FROM imported WHERE action IN ('created', 'updated')}), 0, 'a second import changes nothing');

# Where dbt has built, it is taken over; in an environment it is compared before.
make_database('taken');
make_seed('taken');
$node->safe_psql('taken', 'CREATE SCHEMA shop; CREATE VIEW shop.stg_orders AS SELECT id AS order_id, customer_id, status, ordered_at,
	ordered_at::date AS day FROM raw.orders; CREATE TABLE shop.days AS SELECT day, count(*) AS orders, 0::bigint AS returned
	FROM shop.stg_orders GROUP BY day; CREATE SCHEMA shop_shop; CREATE TABLE shop_shop.customers_history (id int, dbt_scd_id text)');
import('taken', "$project/manifest.json", 'look');
$node->psql('taken', "SET etl.environment = 'look';\nCALL etl.run()");
is($node->safe_psql('taken', q{SELECT sum(returned) FROM shop.days}), 0, 'nothing happened to what is there');
is($node->safe_psql('taken', q{SELECT rows_added > 0 AND rows_removed > 0 OR rows_changed > 0 FROM etl.compare('look')
	WHERE target = 'shop.days' AND column_name IS NULL}), 't', 'etl.compare tells what would change');
import('taken', "$project/manifest.json");
is($node->safe_psql('taken', q{SELECT string_agg(target, ' ' ORDER BY target) FROM imported WHERE detail LIKE '%takes over%'}),
	'shop.days shop.stg_orders', 'what is taken over is told');
like($node->safe_psql('taken', q{SELECT detail FROM imported WHERE target = 'shop_shop.customers_history'}), qr/other columns/,
	'a snapshot of dbt is left alone');
$node->safe_psql('taken', 'CALL etl.run()');
is_dbts('taken', 'taken over');

# With dbt, from PyPI where it can be had, the project is built anew, and nothing committed is believed.
SKIP:
{
	my ($dbt, $why) = Etl::Dbt::program();
	if (!defined $dbt)
	{
		diag("there is no dbt, so the committed manifest has to do: $why");
		skip "there is no dbt: $why", 1;
	}

	my $copy = PostgreSQL::Test::Utils::tempdir() . '/project';
	make_database('live');
	system_or_bail('cp', '-R', $project, $copy);
	system_or_bail('rm', '-rf', "$copy/expected", "$copy/target", "$copy/manifest.json");
	$node->safe_psql('live', 'DROP SCHEMA raw CASCADE');
	{
		local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'live', DBT => $dbt, HOME => $copy,
			PGUSER => $ENV{PGUSER} // $node->safe_psql('postgres', 'SELECT current_user'));
		command_ok([ 'timeout', '-k', '5', '300', "$copy/make" ], 'dbt builds the project and tests it');
	}
	is_dbts('live', 'the committed rows are what dbt builds');
	my @histories = ('shop_shop.customers_history', 'shop_shop.countries_history');
	my %built = map { $_ => rows_of('live', $_) } @relations, @histories;

	import('live', "$copy/manifest.json", 'beside');
	is($node->safe_psql('live', q{SELECT string_agg(dbt_id || ': ' || detail, ' | ') FROM imported WHERE action = 'failed'}), '',
		'its manifest is imported');
	$node->safe_psql('live', "SET etl.environment = 'beside';\nCALL etl.run()");
	foreach my $relation (grep { $_ ne 'shop_lists.countries' } @relations)
	{
		(my $beside = $relation) =~ s/^/beside__/;
		is(rows_of('live', $beside), $built{$relation}, "built beside: the rows of $relation are dbt's");
	}
	is($node->safe_psql('live', q{SELECT string_agg(target, ' ' ORDER BY target) FROM etl.compare('beside')
			WHERE column_name IS NULL AND rows_added + rows_removed + rows_changed = 0 AND target NOT LIKE 'shop_dbt_test%'}),
		'shop.audited shop.customers shop.days shop.months shop.shipments shop.stg_customers shop.stg_orders shop_reports."Big Orders" shop_shop.countries_history shop_shop.customers_history',
		'and etl.compare sees no difference, in snapshots neither');
	is(rows_of('live', $_), $built{$_}, "meanwhile $_ is as dbt left it") foreach @relations, @histories;
	$node->safe_psql('live', q{SELECT etl.drop_environment('beside')});

	import('live', "$copy/manifest.json");
	is($node->safe_psql('live', q{SELECT string_agg(dbt_id || ': ' || detail, ' | ') FROM imported WHERE action = 'failed'}), '',
		'and imported where dbt has built');
	$node->safe_psql('live', 'CALL etl.run()');
	is(rows_of('live', $_), $built{$_}, "taken over: the rows of $_ are dbt's") foreach @relations, @histories;
	is($node->safe_psql('live', q{SELECT string_agg(DISTINCT status, ',') FROM etl.test('shop.*')}), 'pass', 'what passed in dbt passes here');
}

$node->stop;
done_testing();
