# Sessions that are killed at work, and the server that recovers from it.
package Etl::Crash;
use strict;
use warnings;

use Exporter 'import';
use IPC::Run ();
use Time::HiRes qw(usleep);

our @EXPORT_OK = qw(begin_at_work kill_at_work wait_until_up);

# begin_at_work opens a session of the node, sends it the statements and returns it without waiting for their end.
sub begin_at_work
{
	my ($node, $sql) = @_;
	my %work = (node => $node, stdin => "SELECT pg_backend_pid();\n", stdout => '', stderr => '');

	$work{session} = IPC::Run::start(
		[ 'psql', '-XqAt', '-d', $node->connstr('postgres') ],
		'<', \$work{stdin}, '>', \$work{stdout}, '2>', \$work{stderr},
		IPC::Run::timeout(180));
	$work{session}->pump until $work{stdout} =~ /(\d+)\n/;
	($work{pid}) = $work{stdout} =~ /(\d+)\n/;
	$work{stdin} .= "$sql\n";
	while (length $work{stdin})
	{
		$work{session}->pump_nb;
		usleep(1_000);
	}
	return \%work;
}

# kill_at_work kills the session's backend, waits until the server has recovered, and returns how many processes were killed.
sub kill_at_work
{
	my ($work) = @_;
	my $killed = kill('KILL', $work->{pid});

	eval { $work->{session}->kill_kill; };
	wait_until_up($work->{node}, $work->{pid});
	return $killed;
}

# wait_until_up polls until the server has recovered from the crash of that process.
sub wait_until_up
{
	my ($node, $pid) = @_;

	# until its parent has noticed, sessions are still accepted, only to be ended
	usleep(5_000) while kill(0, $pid);
	for (1 .. 3600)
	{
		# a psql that was refused before it read its input is an exception
		my ($code) = eval { $node->psql('postgres', 'SELECT 1', timeout => 10) };
		return if defined $code && $code == 0;
		usleep(50_000);
	}
	die "the server did not come back";
}

1;
