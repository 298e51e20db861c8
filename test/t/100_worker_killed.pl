# Launcher, scheduler, worker and postmaster may be killed at any time: they come back by themselves, and queued work is done.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $cluster = Etl::Cluster->new('killed');
$cluster->define_models;
$cluster->back_at_work('at first');

for my $signal ('TERM', 'KILL')
{
	for my $process ('launcher', 'scheduler')
	{
		my $pid = $cluster->pid($process);
		ok($cluster->kill_process($signal, $pid), "SIG$signal for the $process");
		$cluster->back_at_work("SIG$signal for the $process");
		isnt($cluster->pid($process), $pid, "SIG$signal for the $process: it is a new one");
	}

	# an idle worker, then one at work: its run is taken up again
	my ($run_id, $pid);
	$cluster->run('m.quick');
	ok($cluster->kill_process($signal, $cluster->pid('task')), "SIG$signal for an idle worker");
	$cluster->back_at_work("SIG$signal for an idle worker");

	($run_id, $pid) = $cluster->begin_slow;
	$cluster->sql('UPDATE m.pause SET seconds = 0');
	ok($cluster->kill_process($signal, $pid), "SIG$signal for a worker at work");
	$cluster->back_at_work("SIG$signal for a worker at work");
	is($cluster->wait_run($run_id, 60), 'succeeded', "SIG$signal for a worker at work: its run goes on and succeeds");
	$cluster->sql('UPDATE m.pause SET seconds = 60');
	$cluster->no_leaks("after SIG$signal");
}

# The launcher adopts the schedulers that it finds, and a worker outlives its scheduler.
my $scheduler = $cluster->pid('scheduler');
$cluster->kill_process('TERM', $cluster->pid('launcher'));
$cluster->wait_up(10);
is($cluster->pid('scheduler'), $scheduler, 'a new launcher leaves the scheduler alone');
my ($run_id, $pid) = $cluster->begin_slow;
$cluster->kill_process('TERM', $scheduler);
$cluster->wait_up(10);
is($cluster->sql("SELECT pid FROM etl.status() WHERE detail LIKE 'leads run $run_id%'"), $pid,
	'a worker goes on when its scheduler dies');
is($cluster->sql("SELECT status FROM etl.runs WHERE run_id = $run_id"), 'running', 'and so does its run');
$cluster->sql('UPDATE m.pause SET seconds = 0');
$cluster->sql("SELECT pg_terminate_backend($pid)");
is($cluster->wait_run($run_id), 'succeeded', 'until somebody ends it; the new scheduler starts it again');
$cluster->sql('UPDATE m.pause SET seconds = 60');

# etl.status() tells what everybody does, and what went wrong last.
($run_id, $pid) = $cluster->begin_slow;
like($cluster->sql("SELECT detail FROM etl.status() WHERE pid = $pid"), qr/^leads run $run_id, m\.slow: \w+/, 'etl.status() tells the node at work');
$cluster->sql("SELECT etl.cancel($run_id)");
is($cluster->wait_run($run_id), 'cancelled', 'a run at work is cancelled');
is($cluster->sql("SELECT count(*) FROM etl.status() WHERE pid = $pid"), '1', 'and its worker lives');

# A cancel that meets launcher, scheduler or an idle worker does nothing.
$cluster->run('m.quick');
$cluster->sql("SELECT pg_cancel_backend(pid) FROM etl.status()");
my @before = $cluster->sql("SELECT pid FROM etl.status() ORDER BY 1");
is($cluster->run('m.quick'), 'succeeded', 'after a cancel of everybody a run succeeds');
is_deeply([ $cluster->sql("SELECT pid FROM etl.status() ORDER BY 1") ], \@before, 'by the same processes');

# The postmaster is killed: all of its children leave, and after a start everything is back.
($run_id, $pid) = $cluster->begin_slow;
my @children = map { (split)[0] } $cluster->children;
cmp_ok(scalar(@children), '>=', 3, 'there are processes to be orphaned');
$cluster->sql('UPDATE m.pause SET seconds = 0');
my $node = $cluster->node;
kill('KILL', $node->{_pid});
for (1 .. 1200)
{
	last unless grep { kill(0, $_) } @children;
	usleep(50_000);
}
is(scalar(grep { kill(0, $_) } @children), 0, 'no process outlives the postmaster');
$node->{_pid} = undef;
unlink($node->data_dir . '/postmaster.pid');
$node->start;
$cluster->back_at_work('after a crash of the postmaster');
is($cluster->wait_run($run_id), 'succeeded', 'after a crash of the postmaster: the run at work goes on');
$cluster->no_leaks('after a crash of the postmaster');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|segmentation/i, 'nothing worse is in the log');
$node->stop;
done_testing();
