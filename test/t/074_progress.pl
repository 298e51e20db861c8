# Long work says how far it has come, to its own session and in etl.progress; nothing is left behind when it ends or is cancelled.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Crash qw(begin_at_work);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('progress');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\n");
$node->start;
$node->safe_psql('postgres', q(
	CREATE EXTENSION etl;
	CREATE TABLE numbers AS SELECT g AS n FROM generate_series(1, 140) g;
	SELECT etl.define_model('slow', 'SELECT n, pg_sleep(0.05)::text AS slept FROM numbers', materialized => 'table')));

my $work = begin_at_work($node, 'CALL etl.run();');
ok($node->poll_query_until('postgres',
	"SELECT count(*) = 1 FROM etl.progress WHERE node = 'public.slow' AND phase = 'building' AND rows_done > 20"
	  . " AND bytes_total = pg_relation_size('numbers') AND rows_per_second > 0 AND run_id = 1"),
	'another session sees how far it has come');
$work->{stdin} .= "\\q\n";
$work->{session}->finish;
my @said = $work->{stderr} =~ /NOTICE:  public\.slow: building, \d+ rows/g;
cmp_ok(scalar @said, '>=', 2, 'seven seconds of work say so at least twice');
is($node->safe_psql('postgres', 'SELECT count(*) FROM etl.progress'), '0', 'what is done shows no progress');

$work = begin_at_work($node, "CALL etl.run(full_refresh => true);");
ok($node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM etl.progress'), 'at work again');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($work->{pid})");
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM etl.progress'), 'what is cancelled shows none');
$work->{stdin} .= "\\q\n";
$work->{session}->finish;

$node->safe_psql('postgres', q(
	CREATE ROLE stranger LOGIN;
	GRANT etl_viewer TO stranger;
	SELECT etl.define_model('broken', 'SELECT 1 / (n - n) AS x FROM numbers', materialized => 'table')));
my $offset = -s $node->logfile;
$node->psql('postgres', "SET etl.log_json = on; CALL etl.run('broken')", on_error_stop => 0);
my $log = slurp_file($node->logfile, $offset);
my ($line) = $log =~ /LOG:  (\{.*"node": "public\.broken".*\})/;
is($node->safe_psql('postgres', "SELECT j->>'level', j->>'message', (j->>'run_id')::int > 0 FROM (VALUES (\$j\$$line\$j\$::jsonb)) v(j)"),
	'error|division by zero|t', 'on request what goes into etl.logs is a line of JSON in the server log');

$node->stop;
done_testing();
