# A look at an API shows its records and proposes a stream that can be defined as it is; nothing is landed.
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
my $node = PostgreSQL::Test::Cluster->new('look');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\netl.allowed_hosts = '127.0.0.1'\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION etl; CREATE SCHEMA raw');
$server->config(records => 35);
$node->safe_psql('postgres', qq(SELECT etl.define_source('api', 'http', '{"url": "$url/cursor"}')));

my $options = '{"records": "data.items", "paginate": {"type": "cursor", "next": "meta.next"}}';
is($node->safe_psql('postgres', qq(SELECT count(*), count(DISTINCT r->'id') FROM etl.preview('api', '$options', max_rows => 25) AS r)),
	'25|25', 'preview goes from page to page until it has enough');
is($node->safe_psql('postgres', qq(SELECT string_agg(step || ' ' || ok, ', ') FROM etl.test_source('api', '$options'))),
	'source true, options true, connect true, read true', 'the source is tried step by step');
is($node->safe_psql('postgres', q(SELECT stream, format, columns IS NOT NULL FROM etl.discover('api'))),
	'raw.api|json|t', 'discover proposes a stream');
is($node->safe_psql('postgres', 'SELECT count(*) FROM etl.loads'), '0', 'and nothing was landed');

$server->rules({ path => '/cursor', times => 99, do => 'status', status => 403 });
is($node->safe_psql('postgres', q(SELECT step, ok, remedy <> '' FROM etl.test_source('api') WHERE NOT ok)),
	'connect|f|t', 'a refusal is an answer with its remedy');

done_testing();
