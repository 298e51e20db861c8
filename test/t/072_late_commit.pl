# A load that started earlier and commits later is never skipped by an incremental model.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $files = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('late');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\netl.allowed_directories = '$files'\n");
$node->start;

# write_file makes one CSV file of the given ids.
sub write_file
{
	my ($name, @ids) = @_;

	open(my $fh, '>', "$files/$name") or die "$name: $!";
	print $fh "id\n", map { "$_\n" } @ids;
	close($fh);
	return;
}

write_file('north_1.csv', 1, 2);
write_file('south_1.csv', 11, 12);
$node->safe_psql('postgres', qq(
	CREATE EXTENSION etl; CREATE SCHEMA raw; CREATE SCHEMA mart;
	SELECT etl.define_source('files', 'file', '{"root": "$files"}');
	SELECT etl.define_stream('raw.north', 'files', '{"path": "north_*.csv"}', format => 'csv', columns => 'id bigint');
	SELECT etl.define_stream('raw.south', 'files', '{"path": "south_*.csv"}', format => 'csv', columns => 'id bigint');
	SELECT etl.define_model('mart.all_ids', 'SELECT id FROM raw.north UNION ALL SELECT id FROM raw.south',
		materialized => 'incremental', strategy => 'append');
));
$node->safe_psql('postgres', 'CALL etl.run()');
is($node->safe_psql('postgres', 'SELECT string_agg(id::text, chr(44) ORDER BY id) FROM mart.all_ids'),
	'1,2,11,12', 'the first build has everything');

# The load of north takes its id first and commits last.
write_file('north_2.csv', 3);
write_file('south_2.csv', 13);
my $slow = $node->background_psql('postgres');
$slow->query_safe(q(SET client_min_messages = warning));
$slow->query_safe("BEGIN; CALL etl.run('raw.north');");
$node->safe_psql('postgres', "CALL etl.run('raw.south mart.all_ids')");
is($node->safe_psql('postgres', 'SELECT string_agg(id::text, chr(44) ORDER BY id) FROM mart.all_ids'),
	'1,2,11,12,13', 'the later load is there, the open one is not');
is($node->safe_psql('postgres', q(SELECT load_id = (SELECT max(load_id) FROM etl.loads) FROM etl.loads
	WHERE target = 'raw.south' ORDER BY load_id DESC LIMIT 1)), 't', 'the committed load has the greater id so far');
$slow->query_safe('COMMIT');
$slow->quit;
is($node->safe_psql('postgres', q(SELECT (SELECT max(load_id) FROM etl.loads WHERE target = 'raw.north')
	< (SELECT max(load_id) FROM etl.loads WHERE target = 'raw.south'))), 't', 'the late load has the smaller id');
$node->safe_psql('postgres', "CALL etl.run('mart.all_ids')");
is($node->safe_psql('postgres', 'SELECT string_agg(id::text, chr(44) ORDER BY id) FROM mart.all_ids'),
	'1,2,3,11,12,13', 'the late load is not skipped');

$node->stop;
done_testing();
