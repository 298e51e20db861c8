# Etl::Dbt finds dbt for tests: the program that ETL_DBT names, else one from PyPI, kept outside of the tree for the next time.
package Etl::Dbt;

use strict;
use warnings;

use Fcntl qw(:flock);
use File::Path qw(make_path remove_tree);
use PostgreSQL::Test::Utils;

# Wheels only: nothing is compiled, and no newer release is taken that fetches parts from elsewhere.
my @install = qw(install --quiet --no-input --disable-pip-version-check --retries 1 --timeout 8 --only-binary :all:
  dbt-core~=1.9.0 dbt-postgres~=1.9.0);

# said returns what a command prints, in one line, and whether it succeeded.
sub said
{
	my (@command) = @_;

	open(my $out, '-|', 'timeout', '-k', '5', '90', 'sh', '-c', 'exec "$@" 2>&1', 'sh', @command) or return ("$command[0]: $!", 0);
	my @lines = grep { /\S/ } <$out>;
	my $ok = close($out);
	my $last = @lines ? $lines[-1] : $? >> 8 == 124 ? "$command[0] takes too long" : '';
	chomp $last;
	return ($last, $ok);
}

# home returns a directory that outlives the test where there is one; ETL_CACHE names another.
sub home
{
	my ($version) = said('python3', '--version');
	my $cache = $ENV{ETL_CACHE} // ((getpwuid($>))[7] // '') . '/.cache/etl';

	eval { make_path($cache) };
	$cache = PostgreSQL::Test::Utils::tempdir() unless -d $cache && -w $cache;
	$version =~ s/[^\w.]+/-/g;
	return "$cache/dbt-1.9-$version";
}

# program returns the path of dbt; undef and the reason when it cannot be had.
sub program
{
	return ($ENV{ETL_DBT}, undef) if defined $ENV{ETL_DBT};

	my $home = home();
	my ($text, $ok);
	return ("$home/bin/dbt", undef) if -e "$home/complete";

	# one at a time: a virtual environment cannot be moved to its place when it is ready
	open(my $lock, '>', "$home.lock") or return (undef, "$home.lock: $!");
	flock($lock, LOCK_EX) or return (undef, "$home.lock: $!");
	return ("$home/bin/dbt", undef) if -e "$home/complete";
	remove_tree($home);
	($text, $ok) = said('python3', '-m', 'venv', $home);
	return (undef, $text) unless $ok;
	($text, $ok) = said("$home/bin/python", '-m', 'pip', @install);
	return (undef, $text) unless $ok;
	($text, $ok) = said("$home/bin/dbt", '--version');
	return (undef, $text) unless $ok;
	open(my $complete, '>', "$home/complete") or return (undef, "$home/complete: $!");
	close($complete);
	return ("$home/bin/dbt", undef);
}

1;
