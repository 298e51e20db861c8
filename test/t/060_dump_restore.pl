# A dump carries all state: after a restore a run loads nothing twice and goes on where it was.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $files = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('dump');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\netl.allowed_directories = '$files'\n");
$node->start;

# write_file makes one CSV file of the given lines.
sub write_file
{
	my ($name, @lines) = @_;

	open(my $fh, '>', "$files/$name") or die "$name: $!";
	print $fh map { "$_\n" } @lines;
	close($fh);
	return;
}

write_file('day_1.csv', 'id,amount', '1,10', '2,20', 'x,30', '3,5');
$node->safe_psql('postgres', "CREATE DATABASE first");
$node->safe_psql('first', qq(
	CREATE EXTENSION etl;
	CREATE SCHEMA raw; CREATE SCHEMA mart;
	SELECT etl.define_source('files', 'file', '{"root": "$files"}');
	SELECT etl.define_stream('raw.sales', 'files', '{"path": "day_*.csv"}', format => 'csv',
		columns => 'id bigint, amount numeric');
	SELECT etl.define_model('mart.total', 'SELECT count(*) AS sales, sum(amount) AS amount FROM raw.sales',
		materialized => 'table');
	SELECT etl.define_check('mart.total', 'not_null', '{amount}');
));
$node->safe_psql('first', 'CALL etl.run()');
is($node->safe_psql('first', 'SELECT * FROM mart.total'), '3|35', 'the first day is there');

my $dump = "$files/first.sql";
command_ok([ 'pg_dump', '-d', $node->connstr('first'), '-f', $dump ], 'pg_dump works');
$node->safe_psql('postgres', "CREATE DATABASE second");
command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('second'), '-f', $dump ],
	'psql restores it');

$node->safe_psql('second', 'CALL etl.run()');
is($node->safe_psql('second', 'SELECT count(*) FROM raw.sales'), '3', 'nothing was loaded twice');
is($node->safe_psql('second', 'SELECT * FROM mart.total'), '3|35', 'the model stays');
is($node->safe_psql('second', q(SELECT count(*) FROM etl.rejects WHERE status = 'open')), '1',
	'the reject travelled');

write_file('day_2.csv', 'id,amount', '4,1', '5,2');
$node->safe_psql('second', 'CALL etl.run()');
is($node->safe_psql('second', 'SELECT * FROM mart.total'), '5|38', 'the next file goes on from there');
is($node->safe_psql('second', 'SELECT count(*) = count(DISTINCT load_id) FROM etl.loads'), 't',
	'load ids do not start again');
is($node->safe_psql('second', 'SELECT count(*) FROM etl.runs'), '3', 'the history goes on');

$node->stop;
done_testing();
