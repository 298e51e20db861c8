# etl.reload and etl.reset say where a stream over HTTP goes on, and nothing is doubled or lost.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::HttpServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = Etl::HttpServer->new;
my $url = $server->url;
my $node = PostgreSQL::Test::Cluster->new('reload');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\netl.allowed_hosts = '127.0.0.1'\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION etl');
$node->safe_psql('postgres', 'CREATE SCHEMA raw');
my $options = '{"path": "/cursor", "records": "data.items", "paginate": {"type": "cursor", "next": "meta.next"},
	"incremental": {"field": "id", "param": "after"}}';
$node->safe_psql('postgres', qq(
	SELECT etl.define_source('api', 'http', '{"url": "$url"}');
	SELECT etl.define_stream('raw.items', 'api', '$options', 'json', columns => 'id bigint, name text');
	SELECT etl.define_stream('raw.state', 'api', '$options', 'json', columns => 'id bigint, name text',
		key => '{id}', mode => 'merge')));

# count returns rows and distinct ids of a relation.
sub count
{
	return $node->safe_psql('postgres', "SELECT count(*), count(DISTINCT id), max(id) FROM $_[0]");
}

$server->config(records => 35);
$node->safe_psql('postgres', 'CALL etl.run()');
is(count('raw.items'), '35|35|35', 'the first pull brings everything');
my $cursor = $node->safe_psql('postgres',
	q(SELECT cursor FROM etl.loads WHERE target = 'raw.items' ORDER BY load_id DESC LIMIT 1));

$server->config(records => 50);
$node->safe_psql('postgres', 'CALL etl.run()');
is(count('raw.items'), '50|50|50', 'the second brings what is new');

$node->safe_psql('postgres', q(SELECT etl.reload('raw.items')));
is(count('raw.items'), '50|50|50', 'until the next run a reload changes nothing');
$node->safe_psql('postgres', q(CALL etl.run('raw.items')));
is(count('raw.items'), '50|50|50', 'a reload replaces the rows');
is($node->safe_psql('postgres', q(SELECT status, sum(rows_read) FROM etl.loads WHERE target = 'raw.items' GROUP BY 1 ORDER BY 1)),
	"succeeded|50\nsuperseded|50", 'the former loads are superseded');

$node->safe_psql('postgres', q(SELECT etl.reload('raw.state')));
$node->safe_psql('postgres', q(CALL etl.run('raw.state')));
is(count('raw.state'), '50|50|50', 'a reload of a merge stream merges');
is($node->safe_psql('postgres', q(SELECT rows_unchanged FROM etl.loads WHERE target = 'raw.state' ORDER BY load_id DESC LIMIT 1)),
	'50', 'and leaves unchanged rows alone');

$node->safe_psql('postgres', qq(SELECT etl.reset('raw.state', '$cursor')));
$server->config(records => 60);
$node->safe_psql('postgres', q(CALL etl.run('raw.state')));
is($node->safe_psql('postgres', q(SELECT rows_read, rows_loaded FROM etl.loads WHERE target = 'raw.state' ORDER BY load_id DESC LIMIT 1)),
	'25|10', 'a reset goes on from the cursor that it was given');

my ($code, undef, $error) = $node->psql('postgres', q(SELECT etl.reset('raw.sate')));
isnt($code, 0, 'an unknown stream is refused');
like($error, qr/raw\.state/, 'the nearest one is named');

$node->stop;
done_testing();
