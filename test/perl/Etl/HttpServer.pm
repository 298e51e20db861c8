# Starts test/servers/http_server.py and talks to it.
package Etl::HttpServer;
use strict;
use warnings;

use File::Basename qw(dirname);
use File::Spec;
use HTTP::Tiny;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(usleep);

my $program = File::Spec->rel2abs(dirname(__FILE__) . '/../../servers/http_server.py');

# new starts a server; extra arguments go to its command line.
sub new
{
	my ($class, @arguments) = @_;
	my $port_file = PostgreSQL::Test::Utils::tempdir() . '/port';
	my $pid = fork();

	die "fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		exec('python3', $program, '--port-file', $port_file, @arguments) or die "python3: $!";
	}
	my $self = bless { pid => $pid, owner => $$, http => HTTP::Tiny->new(timeout => 10) }, $class;
	for (1 .. 300)
	{
		last if -s $port_file;
		usleep(50_000);
	}
	open(my $fh, '<', $port_file) or die "the server did not start: $!";
	$self->{port} = <$fh>;
	close($fh);
	$self->{url} = "http://127.0.0.1:$self->{port}";
	return $self;
}

sub url { return $_[0]->{url}; }
sub port { return $_[0]->{port}; }

# call posts a value as JSON to a control path and returns the answer's text.
sub call
{
	my ($self, $path, $value) = @_;
	my $answer = $self->{http}->post("$self->{url}$path", { content => encode_json($value // {}) });

	die "control $path: $answer->{status}" unless $answer->{success};
	return $answer->{content};
}

sub config { my ($self, %config) = @_; $self->call('/_config', \%config); return; }
sub rules { my ($self, @rules) = @_; $self->call('/_rules', \@rules); return; }
sub reset_all { $_[0]->call('/_reset'); return; }
sub release { $_[0]->call('/_release'); return; }
sub requests { return @{ decode_json($_[0]->call('/_log')) }; }

# queries lists "path?query" of the data requests so far.
sub queries
{
	my ($self) = @_;
	return map { $_->{query} eq '' ? $_->{path} : "$_->{path}?$_->{query}" } $self->requests;
}

# wait_held polls until so many requests are held.
sub wait_held
{
	my ($self, $n) = @_;
	for (1 .. 300)
	{
		return 1 if $self->call('/_held') >= $n;
		usleep(50_000);
	}
	return 0;
}

sub DESTROY
{
	my ($self) = @_;
	return unless $self->{owner} == $$;
	local $?;
	kill 'KILL', $self->{pid};
	waitpid($self->{pid}, 0);
	return;
}

1;
