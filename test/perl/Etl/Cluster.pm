# A server with etl preloaded: launcher, scheduler and workers run in it.
#
#	my $cluster = Etl::Cluster->new('name', conf => "etl.max_workers = 2\n");
#	$cluster->sql("SELECT etl.define_model(...)");
#	is($cluster->run('mart.*'), 'succeeded', 'a submitted run succeeds');
#	$cluster->back_at_work('after a crash');
#
# Everything happens in the database "postgres" unless another is named.
package Etl::Cluster;
use strict;
use warnings;

use Etl::Crash qw(wait_until_up);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

# new makes and starts the server, with the extension in database postgres.  Options: conf, text for postgresql.conf;
# streaming, whether standbys may follow; extension, false for none; install_path, of another installation.
sub new
{
	my ($class, $name, %options) = @_;
	my $files = PostgreSQL::Test::Utils::tempdir();
	my $node = PostgreSQL::Test::Cluster->new($name,
		$options{install_path} ? (install_path => $options{install_path}) : ());
	my $self = bless { node => $node, files => $files }, $class;

	$node->init(allows_streaming => $options{streaming} // 0);
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'etl'\nmax_worker_processes = 16\n"
		  . "fsync = off\nrestart_after_crash = on\nlog_min_messages = info\nlog_checkpoints = off\n"
		  . "log_line_prefix = '%m [%p] %b %d '\n"
		  . "etl.allowed_hosts = '127.0.0.1,localhost'\netl.allowed_directories = '$files'\n"
		  . ($options{conf} // ''));
	$node->start;
	if ($options{extension} // 1)
	{
		$self->sql('CREATE EXTENSION etl');
		$self->wait_up;
	}
	return $self;
}

sub node { return $_[0]->{node}; }
sub files { return $_[0]->{files}; }

# sql runs statements and returns what they give; it dies when they fail.
sub sql
{
	my ($self, $sql, $database) = @_;

	return $self->{node}->safe_psql($database // 'postgres', $sql);
}

# try_sql returns (whether it succeeded, the answer, the messages); a server that is not there is a failure like others.
sub try_sql
{
	my ($self, $sql, $database) = @_;
	my ($code, $out, $err) = eval { $self->{node}->psql($database // 'postgres', $sql, timeout => 60) };

	return (defined $code && $code == 0, $out // '', $err // $@);
}

# poll asks until the answer is the expected one, for so many seconds; returns the seconds it took, undef when in vain.
sub poll
{
	my ($self, $sql, $expected, $seconds, $database) = @_;
	my $begin = time;
	my $out;

	while (time - $begin < ($seconds // 60))
	{
		(my $well, $out) = $self->try_sql($sql, $database);
		return time - $begin if $well && $out eq ($expected // 't');
		usleep(50_000);
	}
	diag("after " . ($seconds // 60) . " s $sql gives: " . ($out // 'nothing'));
	return undef;
}

# wait_up waits until launcher and scheduler are there; returns the seconds it took.
sub wait_up
{
	my ($self, $seconds, $database) = @_;

	return $self->poll(
		"SELECT string_agg(process || ' ' || state, ', ' ORDER BY process) FROM etl.status() WHERE process <> 'task'",
		'launcher running, scheduler running', $seconds, $database);
}

# pid returns the process of a kind: launcher, scheduler or task (a busy one first).
sub pid
{
	my ($self, $process, $database) = @_;

	return $self->sql("SELECT pid FROM etl.status() WHERE process = '$process' ORDER BY state LIMIT 1", $database);
}

# submit queues a run and returns its number.
sub submit
{
	my ($self, $selector, $database) = @_;

	return $self->sql("SELECT etl.submit('$selector')", $database);
}

# wait_run waits for the end of a run and returns its status.
sub wait_run
{
	my ($self, $run_id, $seconds, $database) = @_;
	my $begin = time;
	my $status = '';

	while (time - $begin < ($seconds // 60))
	{
		(my $well, $status) = $self->try_sql("SELECT status FROM etl.runs WHERE run_id = $run_id", $database);
		if ($well && $status !~ /^(queued|running|interrupted|)$/)
		{
			note($self->sql("SELECT node, status, sqlstate, error, detail FROM etl.tasks
				WHERE run_id = $run_id AND status NOT IN ('succeeded', 'skipped')", $database))
			  if $status ne 'succeeded';
			return $status;
		}
		usleep(50_000);
	}
	diag("run $run_id is still $status");
	return $status;
}

# run submits a run, waits for it, and returns its status.
sub run
{
	my ($self, $selector, $seconds, $database) = @_;

	return $self->wait_run($self->submit($selector, $database), $seconds, $database);
}

# back_at_work asserts that the processes are back within ten seconds and that a run submitted afterwards succeeds.
sub back_at_work
{
	my ($self, $after, $database, $selector) = @_;
	my $took = $self->wait_up(10, $database);

	ok(defined $took, "$after: the processes are back" . (defined $took ? sprintf(' (%.1f s)', $took) : ''));
	is($self->run($selector // 'm.quick', 60, $database), 'succeeded', "$after: a run submitted now succeeds");
	return;
}

# define_models makes a model that is quick, and one whose build takes as long as m.pause says.
sub define_models
{
	my ($self, $database) = @_;

	$self->sql(q(
		CREATE SCHEMA m;
		CREATE TABLE m.seed AS SELECT generate_series(1, 100) AS id;
		CREATE TABLE m.pause (seconds float);
		INSERT INTO m.pause VALUES (60);
		SELECT etl.define_model('m.quick', 'SELECT id, now() AS at FROM m.seed', 'table');
		SELECT etl.define_model('m.slow', 'SELECT pg_sleep(seconds)::text AS nap, now() AS at FROM m.pause', 'table');
	), $database);
	return;
}

# begin_slow submits a run of the slow model, waits until a worker is at it, and returns the run and the worker's pid.
sub begin_slow
{
	my ($self, $database, $selector) = @_;
	my $run_id = $self->submit($selector // 'm.slow', $database);

	$self->poll("SELECT count(*) FROM etl.tasks WHERE run_id = $run_id AND status = 'running'", '1', 30, $database)
	  // die 'the slow run never began';
	return ($run_id, $self->sql("SELECT pid FROM etl.status() WHERE detail LIKE 'leads run $run_id%'", $database));
}

# kill_process sends a signal and waits until the process is gone; after KILL, until the server has recovered.
sub kill_process
{
	my ($self, $signal, $pid) = @_;

	kill($signal, $pid) == 1 or return 0;
	if ($signal eq 'KILL')
	{
		wait_until_up($self->{node}, $pid);
		return 1;
	}
	for (1 .. 2000)
	{
		return 1 unless kill(0, $pid);
		usleep(5_000);
	}
	return 0;
}

# children lists the etl processes of the server, as the operating system sees them: "pid name".
sub children
{
	my ($self) = @_;
	my $postmaster = $self->{node}->{_pid};

	return grep { /etl (launcher|scheduler|task)/ }
	  map { s/^\s+|\s+$//gr } split(/\n/, qx(ps -o pid=,args= --ppid $postmaster));
}

# no_leaks asserts that every process has its place and every place its process, and that nobody waits for a place.
sub no_leaks
{
	my ($self, $when, @databases) = @_;

	@databases = ('postgres') unless @databases;
	my $places = 0;
	for my $database (@databases)
	{
		$self->poll("SELECT count(*) FROM etl.status() WHERE state IN ('starting', 'busy', 'leaving', 'waiting')", '0',
			30, $database);
		$places += $self->sql("SELECT count(*) FROM etl.status() WHERE process <> 'launcher'", $database);
	}
	is(scalar($self->children), $places + 1, "$when: as many processes as places") or diag(join("\n", $self->children));
	is($self->sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), '0', "$when: no lock is left");
	return;
}

1;
