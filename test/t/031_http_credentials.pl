# Credentials reach the source and nobody else; certificates are always verified.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::HttpServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();

# openssl runs the command line tool.
sub openssl
{
	my (@arguments) = @_;
	system("openssl @arguments >>$dir/openssl.log 2>&1") == 0
	  or die "openssl @arguments:\n" . slurp_file("$dir/openssl.log");
	return;
}

# certificate makes a key and a certificate signed by the test's authority.
sub certificate
{
	my ($name, $subject_names, $days) = @_;

	append_to_file("$dir/$name.ext", "subjectAltName=$subject_names\n");
	openssl("req -new -newkey rsa:2048 -nodes -subj /CN=$name -keyout $dir/$name.key -out $dir/$name.csr");
	openssl("x509 -req -in $dir/$name.csr -CA $dir/ca.crt -CAkey $dir/ca.key -CAcreateserial"
		  . " -extfile $dir/$name.ext -days $days -out $dir/$name.crt");
	return;
}

openssl("req -x509 -newkey rsa:2048 -nodes -subj /CN=authority -days 2 -keyout $dir/ca.key -out $dir/ca.crt");
certificate('good', 'IP:127.0.0.1,DNS:localhost', 1);
certificate('other', 'DNS:elsewhere.example', 1);
# a negative number of days ends before it begins: expired
certificate('expired', 'IP:127.0.0.1', -1);
openssl("req -x509 -newkey rsa:2048 -nodes -subj /CN=self -addext subjectAltName=IP:127.0.0.1"
	  . " -days 1 -keyout $dir/self.key -out $dir/self.crt");

append_to_file("$dir/secret.key", '0123456789abcdef' x 4 . "\n");
append_to_file("$dir/token", "file-token-71\n");
chmod 0600, "$dir/secret.key", "$dir/token";

my $node = PostgreSQL::Test::Cluster->new('credentials');
$node->init;
$node->append_conf('postgresql.conf', "etl.allowed_hosts = '127.0.0.1, localhost'\nfsync = off\n"
	  . "etl.secret_key_file = '$dir/secret.key'\netl.tls_ca_file = '$dir/ca.crt'\n");
$ENV{ETL_TEST_TOKEN} = 'env-token-72';
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION etl');
$node->safe_psql('postgres', 'CREATE SCHEMA raw');

my $server = Etl::HttpServer->new;
my $number = 0;

# pull defines a source and a stream, runs it, and returns its SQLSTATE ('' succeeded).
sub pull
{
	my ($url, $auth, $path) = @_;
	my $name = 'raw.t' . ++$number;
	$path //= '/plain';
	my $paginate = $path eq '/plain' ? '' : ', "records": "data.items", "paginate": {"type": "next_url", "next": "meta.next"}';

	$node->safe_psql('postgres', qq(
		SELECT etl.define_source('s$number', 'http',
			'{"url": "$url", "retry": {"attempts": 2, "base": "1 ms"}, "auth": $auth, "headers": {"X-Mine": "yes"}}');
		SELECT etl.define_stream('$name', 's$number', '{"path": "$path"$paginate}', 'json', columns => 'id bigint')));
	$node->psql('postgres', "CALL etl.run('$name')");
	return $node->safe_psql('postgres',
		"SELECT coalesce(sqlstate, '') FROM etl.tasks WHERE node = '$name'");
}

# told returns what the last pull said.
sub told
{
	return $node->safe_psql('postgres',
		"SELECT concat_ws(E'\\n', error, detail, hint) FROM etl.tasks WHERE node = 'raw.t$number'");
}

# ---- kinds of credentials ----

(undef, undef, my $refusal) = $node->psql('postgres', "SELECT etl.define_secret('logged', 'logged-70')");
like($refusal, qr/would be written to the server log/, 'a value is refused while statements are logged');
unlike($refusal, qr/logged-70/, 'without repeating it');
$node->append_conf('postgresql.conf', "log_statement = none\n");
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('log_statement') = 'none'");
$node->safe_psql('postgres', "SELECT etl.define_secret('value_secret', 'value-token-73')");
$node->safe_psql('postgres', "SELECT etl.define_secret('file_secret', file => '$dir/token')");
$node->safe_psql('postgres', "SELECT etl.define_secret('env_secret', env => 'ETL_TEST_TOKEN')");
for my $kind ([ 'value', 'value-token-73' ], [ 'file', 'file-token-71' ], [ 'env', 'env-token-72' ])
{
	my ($name, $token) = @$kind;

	$server->config(auth => { type => 'bearer', token => $token });
	is(pull($server->url, qq({"type": "bearer", "token": {"secret": "${name}_secret"}})), '', "bearer, secret by $name");
}
$server->config(auth => { type => 'basic', user => 'u', password => 'p:w' });
is(pull($server->url, '{"type": "basic", "user": "u", "password": "p:w"}'), '', 'basic');
$server->config(auth => { type => 'api_key', name => 'X-Api-Key', value => 'key-74' });
is(pull($server->url, '{"type": "api_key", "name": "X-Api-Key", "value": "key-74"}'), '', 'api key in a header field');
$server->config(auth => { type => 'api_key', name => 'k', value => 'key-74', in => 'query' });
is(pull($server->url, '{"type": "api_key", "name": "k", "value": "key-74", "in": "query"}', '/next_url'), '',
	'api key in the query, through next URLs that repeat it');
is($node->safe_psql('postgres', "SELECT count(*) FROM raw.t$number"), '25', 'all pages came');
is($node->safe_psql('postgres', "SELECT count(*) FROM etl.loads WHERE origin LIKE '%key-74%' OR cursor::text LIKE '%key-74%'"),
	'0', 'the key is in no origin and no cursor');

my $url = $server->url;
$node->safe_psql('postgres', "SELECT etl.define_secret('client', 'oauth secret-79', allowed_hosts => '{127.0.0.1}')");
my $oauth = qq({"type": "oauth2_client_credentials", "token_url": "$url/token", "client_id": "the client",
	"client_secret": {"secret": "client"}, "scopes": ["read"]});
$server->config(auth => { type => 'oauth2' });
is(pull($url, $oauth), '', 'OAuth2 client credentials');
$server->config(token_in => 'body');
is(pull($url, $oauth), '', 'OAuth2, where the server wants them in the body');
$server->config(token_in => 'header');
$server->rules({ path => '/next_url', query => 'page=2', do => 'status', status => 401 });
is(pull($url, $oauth, '/next_url'), '', 'a token that stops being good is renewed once');
$server->rules({ path => '/next_url', times => 99, do => 'status', status => 401 });
my $before = grep { $_->{path} eq '/token' } $server->requests;
is(pull($url, $oauth, '/next_url'), 'ET006', 'and not for ever');
is((grep { $_->{path} eq '/token' } $server->requests) - $before, 2, 'but once');

# ---- who gets them ----

$server->reset_all;
$server->rules({ path => '/plain', do => 'redirect', location => $url =~ s/127.0.0.1/localhost/r . '/plain' });
is(pull($url, '{"type": "bearer", "token": "mine-75"}'), '', 'a redirect to another allowed host is followed');
my @requests = $server->requests;
is($requests[0]{headers}{Authorization}, 'Bearer mine-75', 'the source gets the credentials');
is($requests[1]{headers}{Authorization}, undef, 'the other host does not');
is($requests[1]{headers}{'X-Mine'}, undef, 'nor the header fields of the options');
$node->safe_psql('postgres', "SELECT etl.define_secret('bound', 'bound-76', allowed_hosts => '{api.example.com}')");
is(pull($url, '{"type": "bearer", "token": {"secret": "bound"}}'), 'ET015', 'a secret bound to another host is not sent');
is(pull($url, '{"type": "bearer", "token": {"secret": "absent"}}'), 'ET015', 'a secret that does not exist');
$server->config(auth => { type => 'bearer', token => 'right' });
is(pull($url, '{"type": "bearer", "token": {"secret": "value_secret"}}'), 'ET006', 'a wrong token');
like(told(), qr/who are you\? Bearer \*\*\*/, 'what the server repeats of it is hidden');
is(pull($url, '{"type": "bearer", "token": "clear-text-77"}'), 'ET006', 'a token in clear text');
unlike($node->safe_psql('postgres', 'SELECT * FROM etl.sources'), qr/clear-text-77|p:w|key-74/, 'is hidden in the view');

# ---- certificates ----

for my $case ([ 'good', '' ], [ 'self', 'ET005', qr/self-signed/ ], [ 'other', 'ET005', qr/issued for another name/ ],
	[ 'expired', 'ET005', qr/expired/ ])
{
	my ($name, $code, $words) = @$case;
	my $tls = Etl::HttpServer->new('--cert', "$dir/$name.crt", '--key', "$dir/$name.key");

	is(pull('https://127.0.0.1:' . $tls->port, '{"type": "bearer", "token": "t"}'), $code, "certificate $name");
	like(told(), $words, "certificate $name: says so") if $words;
}

# ---- where secrets do not appear ----

my $session = $node->background_psql('postgres');
$session->query_safe("SELECT etl.define_secret('idle', 'idle-80')");
is($node->safe_psql('postgres', "SELECT query FROM pg_stat_activity WHERE query LIKE '%define_secret%' AND pid <> pg_backend_pid()"),
	'<define_secret>', 'an idle session does not show the statement that brought a value');
$session->quit;

my $everything = slurp_file($node->logfile) . $node->safe_psql('postgres',
	"SELECT string_agg(query_to_xml('SELECT * FROM ' || c.oid::regclass, true, true, '')::text, '')
	 FROM pg_class c WHERE relnamespace = 'etl'::regnamespace AND relkind IN ('r', 'v') AND relname <> 'source'")
  . $node->safe_psql('postgres', 'SELECT query FROM pg_stat_activity');
ok($everything !~ /value-token-73|file-token-71|env-token-72|bound-76|oauth secret-79/,
	'no secret is in the log, a table, a view or pg_stat_activity');
my ($dump) = run_command([ 'pg_dump', '-d', $node->connstr('postgres') ]);
ok($dump =~ /COPY etl.secret /, 'the dump carries secrets');
ok($dump !~ /value-token-73|file-token-71|env-token-72|bound-76|oauth secret-79/, 'but sealed');

# ---- the key file ----

# refused defines a secret under a key file that must be refused.
sub refused
{
	my ($file, $words, $what) = @_;
	my (undef, undef, $error) = $node->psql('postgres',
		"SET etl.secret_key_file = '$file'; SELECT etl.define_secret('n', 'v-78')");

	like($error, $words, $what);
	unlike($error, qr/v-78/, "$what: without the value");
	return;
}

refused('', qr/no key for secrets is configured/, 'no key file');
refused("$dir/absent", qr/cannot be opened/, 'a key file that does not exist');
append_to_file("$dir/open.key", '0123456789abcdef' x 4);
chmod 0644, "$dir/open.key";
refused("$dir/open.key", qr/group or others/, 'a key file that others may read');
append_to_file("$dir/short.key", 'abc');
chmod 0600, "$dir/short.key";
refused("$dir/short.key", qr/neither 32 bytes nor 64/, 'a key that is too short');
append_to_file($node->data_dir . '/inside.key', '0123456789abcdef' x 4);
chmod 0600, $node->data_dir . '/inside.key';
refused($node->data_dir . '/inside.key', qr/data directory/, 'a key file in the data directory');
symlink($node->data_dir . '/inside.key', "$dir/link.key");
refused("$dir/link.key", qr/data directory/, 'a symlink into the data directory');

append_to_file("$dir/second.key", 'fedcba9876543210' x 4);
chmod 0600, "$dir/second.key";
$node->append_conf('postgresql.conf', "etl.secret_key_file = '$dir/second.key'\n");
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('etl.secret_key_file') = '$dir/second.key'");
is(pull($url, '{"type": "bearer", "token": {"secret": "value_secret"}}'), 'ET015', 'another key opens nothing');
$node->append_conf('postgresql.conf', "etl.secret_key_file = '$dir/secret.key'\n");
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('etl.secret_key_file') = '$dir/secret.key'");
$node->safe_psql('postgres', "UPDATE etl.secret SET sealed = (SELECT sealed FROM etl.secret WHERE name = 'value_secret') WHERE name = 'client'");
is(pull($url, '{"type": "bearer", "token": {"secret": "client"}}'), 'ET015', 'a sealed value moved to another name does not open');

$node->stop;
done_testing();
