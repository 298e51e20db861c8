# A build that begins while a load widens a column sees all rows of the stream, never an empty table.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $files = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('widen');
$node->init;
$node->append_conf('postgresql.conf',
	"fsync = off\nautovacuum = off\ntimezone = 'UTC'\netl.allowed_directories = '$files'\n");
$node->start;

# write_file makes one CSV file of the given lines.
sub write_file
{
	my ($name, @lines) = @_;

	open(my $fh, '>', "$files/$name") or die "$name: $!";
	print $fh map { "$_\n" } 'id,n', @lines;
	close($fh);
	return;
}

# blocked waits until a session waits for a lock of this kind.
sub blocked
{
	my ($kind) = @_;

	return $node->poll_query_until('postgres',
		"SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND wait_event = '$kind'");
}

write_file('a1.csv', '1,10', '2,20');
# what comes first in the run holds it until the test lets it go
$node->safe_psql('postgres', qq(
	CREATE EXTENSION etl; CREATE SCHEMA raw; CREATE SCHEMA mart;
	SELECT etl.define_source('files', 'file', '{"root": "$files"}');
	SELECT etl.define_stream('raw.a', 'files', '{"path": "a*.csv"}');
	CALL etl.run('raw.a');
	SELECT etl.define_model('mart.a_gate', 'SELECT 1 AS one FROM pg_advisory_xact_lock(7)', materialized => 'table');
	SELECT etl.define_model('mart.ids', 'SELECT id FROM raw.a');
	CALL etl.run('mart.ids');
	SELECT etl.define_model('mart.b_counted', 'SELECT count(*) AS n FROM mart.ids', materialized => 'table');
));

my $gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(7)');
my $build = $node->background_psql('postgres', on_error_stop => 0);
$build->query_until(qr/begun/, "\\echo begun\nCALL etl.run('mart.a_gate mart.b_counted');\n");
ok(blocked('advisory'), 'the run is planned and waits at the gate');

write_file('a2.csv', '3,2.5');
my $load = $node->background_psql('postgres');
$load->query_safe('SET client_min_messages = warning');
$load->query_safe("BEGIN; CALL etl.run('raw.a');");
is($load->query_safe(q(SELECT atttypid::regtype FROM pg_attribute WHERE attrelid = 'raw.a'::regclass AND attname = 'n')),
	'numeric', 'the load has widened the column, and is not committed');
$gate->query_safe('SELECT pg_advisory_unlock(7)');
ok(blocked('relation'), 'the model waits for the stream');
$load->query_safe('COMMIT');
$build->query('SELECT 1');
$_->quit for $load, $build, $gate;

is($node->safe_psql('postgres', q(SELECT status FROM etl.runs WHERE selector LIKE 'mart.a%')), 'succeeded', 'the run succeeds');
is($node->safe_psql('postgres', 'SELECT n FROM mart.b_counted'), '3', 'a model over a view that stayed has every row');
$node->safe_psql('postgres', q(CALL etl.run('mart.*')));
is($node->safe_psql('postgres', 'SELECT n FROM mart.b_counted'), '3', 'now and after another run');

$node->stop;
done_testing();
