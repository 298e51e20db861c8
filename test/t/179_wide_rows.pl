# However wide rows are, recording that they change, reading that, and putting them aside takes the memory of a few of them.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = Etl::Cluster->new('wide_rows');
my ($rows, $megabytes) = (60, 1);

plan skip_all => 'needs /proc' unless -r '/proc/self/status';

# peak runs a statement in a session of its own and returns the most memory, in MB, that the session had to itself.
sub peak
{
	my ($statement) = @_;
	my $peak = $cluster->sql(
		"$statement; SELECT (substring(s, 'VmHWM:\\s+(\\d+)')::int - substring(s, 'RssShmem:\\s+(\\d+)')::int) / 1024 FROM pg_read_file('/proc/self/status') AS s");

	$peak =~ s/.*\n//s;
	note("$peak MB: $statement");
	return $peak;
}

$cluster->sql('CREATE SCHEMA wide; CREATE TABLE wide.docs (id int PRIMARY KEY, doc text); ALTER TABLE wide.docs ALTER doc SET STORAGE EXTERNAL');
$cluster->sql(q(SELECT etl.watch('wide.docs')));
$cluster->sql(q(SELECT etl.define_model('wide.lengths', 'SELECT id, length(doc) AS n FROM wide.docs', 'incremental', '{id}'); CALL etl.run('wide.*')));

cmp_ok(peak("INSERT INTO wide.docs SELECT i, repeat(chr(65 + i % 26), $megabytes * 1000000) FROM generate_series(1, $rows) AS i"),
	'<', 90, 'a statement that changes wide rows records them');
cmp_ok(peak(q(CALL etl.run('wide.*'))), '<', 90, 'a model reads what was recorded');
is($cluster->sql('SELECT count(*), sum(n) FROM wide.lengths'), "$rows|" . $rows * $megabytes * 1000000, '... all of it');
is($cluster->sql(q(SELECT action FROM etl.tasks WHERE node = 'wide.lengths' ORDER BY task_id DESC LIMIT 1)), 'incremental', '... row by row');

$cluster->sql(q(SELECT etl.define_model('wide.checked', 'SELECT id, doc || id AS doc FROM wide.docs', 'table')));
$cluster->sql(q(SELECT etl.define_check('wide.checked', 'range', '{id}', '{"max": 10}', 'quarantine')));
cmp_ok(peak(q(CALL etl.run('wide.checked'))), '<', 90, 'a check puts wide rows aside');
is($cluster->sql('SELECT count(*) FROM wide.checked'), 10, '... and leaves the others');
is($cluster->sql(q(SELECT count(*), min(length(raw)) > 1000000 FROM etl.rejects WHERE target = 'wide.checked')),
	$rows - 10 . '|t', '... as rejects that keep them whole: they are not above etl.max_record_size');

done_testing();
