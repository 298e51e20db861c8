# Whatever fails, etl.explain_run() and the alert name the object and what ends the fault; a remedy that is SQL ends it as it stands.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use Etl::HttpServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $cluster = Etl::Cluster->new('remedies', conf => "etl.max_workers = 1\netl.publish_lock_timeout = 500\n"
	  . "etl.allowed_hosts = '127.0.0.1,no-such-host.invalid'\nlog_statement = none\n");
my $node = $cluster->node;
my $files = $cluster->files;
my $server = Etl::HttpServer->new;
my $url = $server->url;

append_to_file("$files/secret.key", '0123456789abcdef' x 4 . "\n");
chmod 0600, "$files/secret.key";
$cluster->sql("ALTER SYSTEM SET etl.secret_key_file = '$files/secret.key'");
$cluster->sql('SELECT pg_reload_conf()');
$cluster->poll('SHOW etl.secret_key_file', "$files/secret.key", 10);

# write_file puts a text into a file below the directory that sources may read.
sub write_file
{
	my ($name, $text) = @_;

	open(my $fh, '>', "$files/$name") or die "$name: $!";
	print $fh $text;
	close($fh);
	return;
}

# explained returns (status, why, remedy) of a node in the last run.
sub explained
{
	my ($name, $run_id) = @_;
	my $row = $cluster->sql(sprintf(
		q(SELECT status || E'\x01' || why || E'\x01' || remedy FROM etl.explain_run(%s)
			WHERE node IS NOT DISTINCT FROM %s),
		$run_id // '(SELECT max(run_id) FROM etl.runs)', defined $name ? "'$name'" : 'NULL'));

	return split(/\x01/, $row);
}

# fault makes a node fail, judges what is said of it, ends the fault, and sees the next run succeed.
#
#	node: what is run; break: what makes it fail, SQL or a function; names: what the remedy must name;
#	end: how the fault is ended where SQL cannot do it (without it, the remedy must be SQL, and is run);
#	run: how the node is run, a function that returns whether it succeeded
sub fault
{
	my ($what, %fault) = @_;
	my $run = $fault{run} // sub { return ($cluster->try_sql("CALL etl.run('$fault{node}')"))[0] };

	ref $fault{break} ? $fault{break}->() : $cluster->sql($fault{break});
	ok(!$run->(), "$what: the run fails");

	my ($status, $why, $remedy) = explained($fault{node});
	note("$what\n" . ($why // 'no row') . "\n=> " . ($remedy // ''));
	like($why // '', qr/Likely cause: \S.*\nSince \d{4}-/s, "$what: error, cause and since when are told");
	like($remedy // '', $fault{names}, "$what: the remedy names the object");
	my $alert = $cluster->sql("SELECT remedy FROM etl.alerts WHERE object = '$fault{node}' AND event = 'run_failed' AND state = 'firing'");
	is($alert, $remedy =~ s/ Then CALL etl\.run\(retry_of => \d+\)\.$//r, "$what: the alert has the same remedy");
	if ($fault{end})
	{
		unlike($remedy, qr/^\s*(SELECT|CALL|ALTER|GRANT|CREATE|DROP|UPDATE)\b|;\s*$/,
			"$what: what SQL cannot end does not look like it");
		ref $fault{end} ? $fault{end}->() : $cluster->sql($fault{end});
	}
	else
	{
		like($remedy, qr/^(SELECT|CALL|ALTER|GRANT|CREATE) .*;$/s, "$what: the remedy is SQL");
		my ($ran, undef, $messages) = $cluster->try_sql($remedy);
		ok($ran, "$what: it can be run") or diag($messages);
		# a changed setting reaches the sessions that begin from now on in a moment
		usleep(300_000) if $remedy =~ /pg_reload_conf/;
	}
	ok($run->(), "$what: the next run succeeds")
	  or diag($cluster->sql("SELECT error, detail FROM etl.tasks ORDER BY task_id DESC LIMIT 1"));
	return;
}

# as_owner defines something as the role that owns the pipeline.
sub as_owner { return $cluster->sql("SET ROLE shopkeeper; $_[0]"); }

$cluster->sql(q(
	CREATE ROLE shopkeeper NOLOGIN;
	GRANT etl_developer, pg_read_server_files TO shopkeeper;
	CREATE SCHEMA raw;
	CREATE SCHEMA mart;
	GRANT ALL ON SCHEMA raw, mart TO shopkeeper;
	CREATE TABLE raw.orders AS SELECT g AS id, g % 3 AS shop, (g * 1.5)::numeric AS amount FROM generate_series(1, 10) g;
	GRANT SELECT ON raw.orders TO shopkeeper;
	CREATE FUNCTION raw.twice(numeric) RETURNS numeric LANGUAGE plpgsql AS 'BEGIN RETURN 2 * $1; END';
));
as_owner(q(
	SELECT etl.define_model('mart.copy', 'SELECT id, amount FROM raw.orders', 'table');
	SELECT etl.define_model('mart.total', 'SELECT sum(amount) AS amount FROM raw.orders', 'table');
	SELECT etl.define_model('mart.twice', 'SELECT id, raw.twice(amount) AS amount FROM raw.orders', 'table')));
$cluster->sql("CALL etl.run()");

$cluster->sql("SELECT etl.define_alert('all', '{run_failed}', '{}')");

# ---- rights ----

fault('missing grant', node => 'mart.copy', break => 'REVOKE SELECT ON raw.orders FROM shopkeeper',
	names => qr/raw\.orders/);
fault('missing grant on the schema', node => 'mart.copy',
	break => 'REVOKE USAGE ON SCHEMA raw FROM shopkeeper; REVOKE SELECT ON raw.orders FROM shopkeeper', names => qr/SCHEMA raw/);
fault('missing grant on a function', node => 'mart.twice',
	break => 'REVOKE EXECUTE ON FUNCTION raw.twice(numeric) FROM PUBLIC', names => qr/raw\.twice\(numeric\)/);
fault('missing schema', node => 'shop.copy', names => qr/SCHEMA shop\b/,
	break => sub { as_owner("SELECT etl.define_model('shop.copy', 'SELECT id FROM raw.orders', 'table')") });
fault('target of another owner', node => 'mart.copy', names => qr/mart\.copy/,
	break => 'ALTER TABLE mart.copy OWNER TO postgres; REVOKE ALL ON mart.copy FROM PUBLIC, shopkeeper;
		UPDATE raw.orders SET amount = amount + 1');
$cluster->sql(q(
	CREATE ROLE temp NOLOGIN;
	GRANT etl_developer TO temp;
	GRANT ALL ON SCHEMA raw, mart TO temp;
	GRANT SELECT ON raw.orders TO temp;
	SET ROLE temp;
	SELECT etl.define_model('mart.of_temp', 'SELECT id FROM raw.orders', 'table');
	RESET ROLE;
	CALL etl.run('mart.of_temp')));
fault('dropped owner', node => 'mart.of_temp', names => qr/ROLE temp\b/,
	break => 'REASSIGN OWNED BY temp TO postgres; DROP OWNED BY temp; DROP ROLE temp');

# ---- what models read ----

fault('dropped column', node => 'mart.total', names => qr/raw\.orders ADD COLUMN amount numeric/,
	break => 'ALTER TABLE raw.orders DROP COLUMN amount');
fault('type change', node => 'mart.total', names => qr/raw\.orders ALTER COLUMN amount TYPE numeric/,
	break => 'ALTER TABLE raw.orders ALTER COLUMN amount TYPE text');
fault('dropped input', node => 'mart.gone', names => qr/raw\.gone/, end => 'CREATE TABLE raw.gone AS SELECT 1 AS id',
	break => sub
	{
		$cluster->sql('CREATE TABLE raw.gone AS SELECT 1 AS id');
		$cluster->sql("SELECT etl.define_model('mart.gone', 'SELECT id FROM raw.gone', 'table')");
		$cluster->sql("CALL etl.run('mart.gone')");
		$cluster->sql('DROP TABLE raw.gone');
	});
fault('duplicate keys', node => 'mart.by_shop', names => qr/mart\.by_shop.*\{shop\}/,
	break => q(SELECT etl.define_model('mart.by_shop', 'SELECT shop, id FROM raw.orders', 'incremental', key => '{shop}')));
fault('division by zero', node => 'mart.ratio', names => qr/mart\.ratio/, end => 'DELETE FROM raw.orders WHERE shop = 0',
	break => q(SELECT etl.define_model('mart.ratio', 'SELECT id / shop AS ratio FROM raw.orders', 'table')));
fault('check failed', node => 'mart.copy', names => qr/mart\.copy/, end => 'UPDATE raw.orders SET amount = abs(amount)',
	break => q(UPDATE raw.orders SET amount = -7;
		SELECT etl.define_check('mart.copy', 'range', '{amount}', '{"min": 0}')));
fault('timeout', node => 'mart.slow', names => qr/mart\.slow/,
	break => q(SELECT etl.define_model('mart.slow', 'SELECT pg_sleep(60)::text AS nap', 'table', options => '{"timeout": "100 ms"}')),
	end => q(SELECT etl.define_model('mart.slow', 'SELECT pg_sleep(0)::text AS nap', 'table', options => '{"timeout": "1 min"}')));

# ---- locks, disk, places ----

my $reader = $node->background_psql('postgres');
fault('lock of another session', node => 'mart.copy', names => qr/mart\.copy/, break => sub
	{
		$reader->query_safe('BEGIN; SELECT count(*) FROM mart.copy');
		$cluster->sql('UPDATE raw.orders SET amount = amount + 1');
	});
eval { $reader->quit };

# Temporary files of one session lead to a device that is always full: the server gets a true ENOSPC.
$cluster->sql(q(SELECT etl.define_model('mart.sorted',
	'SELECT g, md5(g::text) AS m FROM generate_series(1, 50000) g ORDER BY m', 'table')));
my $session = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
my $spill = $node->data_dir . '/base/pgsql_tmp';
$session->query_safe("SET work_mem = '64kB'");
mkdir $spill;
fault('disk full', node => 'mart.sorted', names => qr/tablespace pg_default.*mart\.sorted/s,
	break => sub { symlink('/dev/full', "$spill/pgsql_tmp$pid.$_") for 0 .. 99 },
	end => sub { unlink glob("$spill/pgsql_tmp$pid.*") },
	run => sub
	{
		$session->query("CALL etl.run('mart.sorted')");
		return $cluster->sql('SELECT status FROM etl.runs ORDER BY run_id DESC LIMIT 1') eq 'succeeded';
	});
$session->quit;

# queued judges a run that waits, runs the remedy, and sees it succeed.
sub queued
{
	my ($what, $run_id, $names) = @_;
	my ($status, $why, $remedy) = explained(undef, $run_id);

	note("$what\n" . ($why // 'no row') . "\n=> " . ($remedy // ''));
	is($status, 'queued', "$what: the run waits");
	like($why // '', qr/Likely cause: \S.*\nSince \d{4}-/s, "$what: cause and since when are told");
	like($remedy // '', $names, "$what: the remedy names the object");
	$cluster->sql($remedy);
	is($cluster->wait_run($run_id), 'succeeded', "$what: after it, it succeeds");
	return;
}

$cluster->define_models;
my ($slow) = $cluster->begin_slow;
my $waiting = $cluster->submit('m.quick');
$cluster->poll("SELECT state FROM etl.status() WHERE process = 'scheduler'", 'waiting', 30);
queued('full slots', $waiting, qr/etl\.max_workers = 2/);
$cluster->sql("SELECT etl.cancel($slow)");
$cluster->wait_run($slow);

# ---- files ----

mkdir "$files/shop";
write_file('shop/a.csv', "id,amount\n1,2.5\n2,4\n");
as_owner(qq(
	SELECT etl.define_source('files', 'file', '{"root": "$files"}');
	SELECT etl.define_stream('raw.shop', 'files', '{"path": "shop/*.csv", "on_change": "error"}');
	SELECT etl.define_model('mart.shop', 'SELECT id, amount * 2 AS amount FROM raw.shop', 'table')));

fault('a file that may not be read', node => 'raw.shop', names => qr{shop/a\.csv},
	break => sub { chmod 0000, "$files/shop/a.csv" }, end => sub { chmod 0644, "$files/shop/a.csv" });
fault('a directory that may not be read', node => 'raw.shop', names => qr{\Q$files\E/shop},
	break => sub { chmod 0000, "$files/shop" }, end => sub { chmod 0755, "$files/shop" });
fault('files of the server are not allowed', node => 'raw.shop', names => qr/pg_read_server_files TO shopkeeper/,
	break => 'REVOKE pg_read_server_files FROM shopkeeper');
$cluster->sql("CALL etl.run('mart.shop')");
fault('dropped column of a stream', node => 'mart.shop', names => qr/raw\.shop/,
	break => 'ALTER TABLE raw.shop DROP COLUMN amount');
is($cluster->sql('SELECT sum(amount) FROM mart.shop'), '13.0', 'its values are there again');
fault('dropped stream', node => 'mart.shop', names => qr/raw\.shop/, break => 'DROP TABLE raw.shop');
is($cluster->sql('SELECT sum(amount) FROM mart.shop'), '13.0', 'its rows are there again');
fault('a file that was changed', node => 'raw.shop', names => qr{raw\.shop.*shop/a\.csv},
	break => sub { write_file('shop/a.csv', "id,amount\n1,2.5\n2,40\n") });
fault('a directory that is not allowed', node => 'raw.outside', names => qr{allowed_directories = '.*,\Q$files\E-other},
	break => sub
	{
		mkdir "$files-other";
		system("cp $files/shop/a.csv $files-other/");
		as_owner(qq(SELECT etl.define_source('others', 'file', '{"root": "$files-other"}');
			SELECT etl.define_stream('raw.outside', 'others', '{"path": "*.csv"}')));
	});
fault('too many rejects', node => 'raw.strict', names => qr/raw\.strict/,
	break => sub
	{
		write_file('strict.csv', "id,n\n1,1\n2,many\n");
		as_owner(q(SELECT etl.define_stream('raw.strict', 'files', '{"path": "strict.csv", "max_rejects": 0}',
			columns => 'id bigint, n int')));
	},
	end => sub { write_file('strict.csv', "id,n\n1,1\n2,2\n") });
fault('a new field of a frozen stream', node => 'raw.strict', names => qr/raw\.strict ADD COLUMN new_field/,
	break => sub
	{
		as_owner(q(SELECT etl.define_stream('raw.strict', 'files', '{"path": "strict*.csv"}', columns => 'id bigint, n int',
			schema_policy => 'freeze')));
		write_file('strict2.csv', "id,n,New Field\n3,3,x\n");
	});

# a source that has changed a type: its records are put aside, and land after the remedy
write_file('typed.csv', "id,n\n1,1\n");
as_owner(q(SELECT etl.define_stream('raw.typed', 'files', '{"path": "typed*.csv"}', columns => 'id bigint, n int')));
$cluster->sql("CALL etl.run('raw.typed')");
write_file('typed2.csv', "id,n\n2,a\n3,b\n");
$cluster->sql("CALL etl.run('raw.typed')");
my (undef, $why, $remedy) = explained('raw.typed');
like($remedy, qr/^ALTER TABLE raw\.typed ALTER COLUMN n TYPE text;\n.*;$/s, 'type change at the source: the remedy is SQL');
as_owner($remedy);
is($cluster->sql("SELECT string_agg(n, ',' ORDER BY id) FROM raw.typed"), '1,a,b', 'type change at the source: all land');

# ---- HTTP ----

$cluster->sql(q(SELECT etl.define_secret('shop_password', 'wrong', allowed_hosts => '{127.0.0.1}')));

# pull defines a source and a stream of the server.
sub pull
{
	my ($name, $base, $auth, $path) = @_;

	$cluster->sql(qq(
		SELECT etl.define_source('$name', 'http', '{"url": "$base", "retry": {"attempts": 1}, "auth": $auth}');
		SELECT etl.define_stream('raw.$name', '$name', '{"path": "$path"}', 'json', columns => 'id bigint')));
	return;
}

my $basic = '{"type": "basic", "user": "shop", "password": {"secret": "shop_password"}}';
my $bearer = '{"type": "bearer", "token": "t"}';
$server->config(auth => { type => 'basic', user => 'shop', password => 'right' });
fault('wrong password', node => 'raw.basic', names => qr/define_secret\('shop_password'.*source basic/s,
	break => sub { pull('basic', $url, $basic, '/plain') },
	end => q(SELECT etl.define_secret('shop_password', 'right', allowed_hosts => '{127.0.0.1}')));
fault('expired secret', node => 'raw.basic', names => qr/define_secret\('shop_password'.*source basic/s,
	break => sub { $server->config(auth => { type => 'basic', user => 'shop', password => 'rotated' }) },
	end => q(SELECT etl.define_secret('shop_password', 'rotated', allowed_hosts => '{127.0.0.1}')));
fault('dropped secret', node => 'raw.basic', names => qr/define_secret\('shop_password'/,
	break => q(SELECT etl.drop_secret('shop_password', cascade => true)),
	end => q(SELECT etl.define_secret('shop_password', 'rotated', allowed_hosts => '{127.0.0.1}')));
$server->reset_all;
fault('404', node => 'raw.path', names => qr/raw\.path.*source path/, break => sub { pull('path', $url, $bearer, '/nothing') },
	end => sub { pull('path', $url, $bearer, '/plain') });
fault('a server with a problem', node => 'raw.path', names => qr/127\.0\.0\.1:\d+.*source path/,
	break => sub { $server->rules({ path => '/plain', times => 99, do => 'status', status => 503 }) },
	end => sub { $server->reset_all });
fault('no JSON', node => 'raw.path', names => qr/raw\.path/,
	break => sub { $server->rules({ path => '/plain', times => 99, do => 'garbage' }) }, end => sub { $server->reset_all });
fault('unknown host', node => 'raw.host', names => qr/source host .*no-such-host\.invalid/s,
	break => sub { pull('host', 'http://no-such-host.invalid', $bearer, '/plain') },
	end => sub { pull('host', $url, $bearer, '/plain') });
fault('nobody listens', node => 'raw.port', names => qr/127\.0\.0\.1:1\b.*source port/s,
	break => sub { pull('port', 'http://127.0.0.1:1', $bearer, '/plain') }, end => sub { pull('port', $url, $bearer, '/plain') });
fault('a host that is not allowed, in a worker', node => 'raw.other', run => sub { return $cluster->run('raw.other') eq 'succeeded' },
	names => qr/etl\.allowed_hosts = '.*,localhost:\d+'/,
	break => sub { pull('other', $url =~ s/127\.0\.0\.1/localhost/r, $bearer, '/plain') });

system("openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=self -addext subjectAltName=IP:127.0.0.1 -days 1"
	  . " -keyout $files/self.key -out $files/self.crt >$files/openssl.log 2>&1") == 0
  or die slurp_file("$files/openssl.log");
my $tls = Etl::HttpServer->new('--cert', "$files/self.crt", '--key', "$files/self.key");
fault('self-signed certificate', node => 'raw.tls', names => qr/127\.0\.0\.1:\d+.*source tls.*etl\.tls_ca_file/s,
	break => sub { pull('tls', 'https://127.0.0.1:' . $tls->port, $bearer, '/plain') },
	end => sub
	{
		$cluster->sql("ALTER SYSTEM SET etl.tls_ca_file = '$files/self.crt'");
		$cluster->sql('SELECT pg_reload_conf()');
		$cluster->poll('SHOW etl.tls_ca_file', "$files/self.crt", 10);
	});

# ---- what depends on a node ----

# A view of somebody else stops a run before any work: the error tells it, and explain_run of a submitted run.
$cluster->sql('CREATE VIEW public.report AS SELECT * FROM mart.copy');
$cluster->sql('ALTER TABLE raw.orders ALTER COLUMN amount TYPE bigint');
my $refused = $cluster->submit('mart.copy');
is($cluster->wait_run($refused), 'failed', 'a view of others: the run fails');
(undef, $why, $remedy) = explained(undef, $refused);
note("$why\n=> $remedy");
like($remedy, qr/^SELECT etl\.define_model\('public\.report'.*;$/s, 'a view of others: the remedy is SQL that takes it into care');
$cluster->sql($remedy);
is($cluster->run('mart.copy'), 'succeeded', 'a view of others: the next run succeeds');
is($cluster->sql('SELECT count(*) = (SELECT count(*) FROM mart.copy) FROM public.report'), 't', 'and the view is there');

$node->stop;

# ---- without processes ----

my $alone = PostgreSQL::Test::Cluster->new('alone');
$alone->init;
$alone->start;
$alone->safe_psql('postgres', q(CREATE EXTENSION etl; CREATE SCHEMA mart;
	SELECT etl.define_model('mart.one', 'SELECT 1 AS one', 'table')));
$alone->safe_psql('postgres', 'SELECT etl.submit()');
$remedy = $alone->safe_psql('postgres', "SELECT remedy FROM etl.explain_run() WHERE status = 'queued'");
is($remedy, 'CALL etl.tick();', 'nothing is preloaded: the remedy is what takes up queued runs');
$alone->safe_psql('postgres', $remedy);
is($alone->safe_psql('postgres', 'SELECT one FROM mart.one'), '1', 'nothing is preloaded: the run is made');
$alone->stop;
done_testing();
