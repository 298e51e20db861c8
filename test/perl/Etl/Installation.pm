# A copy of the server's installation, so that a test can replace the extension in it.
package Etl::Installation;
use strict;
use warnings;

use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;

# config asks pg_config.
sub config
{
	my ($what) = @_;

	chomp(my $answer = qx(pg_config --$what));
	return $answer;
}

# copy_to copies a directory into the new root, where the server finds it relative to its own place.
sub copy_to
{
	my ($root, $from, $prefix) = @_;
	my $relative = substr($from, length $prefix);

	system('mkdir', '-p', dirname("$root$relative")) == 0 or die 'mkdir';
	system('cp', '-a', '--no-preserve=ownership', $from, dirname("$root$relative")) == 0 or die "cp $from";
	return "$root$relative";
}

# new makes the copy.
sub new
{
	my ($class) = @_;
	my $root = PostgreSQL::Test::Utils::tempdir();
	my ($bin, $share, $lib) = map { config($_) } qw(bindir sharedir pkglibdir);
	my $prefix = '';

	# what the three have in common
	for my $part (split(m{(?=/)}, $bin))
	{
		last unless index($share, "$prefix$part/") == 0 && index($lib, "$prefix$part/") == 0;
		$prefix .= $part;
	}
	my $self = bless {
		bin => copy_to($root, $bin, $prefix),
		share => copy_to($root, $share, $prefix),
		lib => copy_to($root, $lib, $prefix),
	}, $class;
	return $self;
}

# path is what PostgreSQL::Test::Cluster calls install_path: the directory above bin.
sub path { return dirname($_[0]->{bin}); }

# add_version installs the scripts of a version above 1.0: its update from 1.0 is the given SQL.
sub add_version
{
	my ($self, $version, $sql) = @_;
	my $extension = "$self->{share}/extension";
	my $control = slurp_file("$extension/etl.control");

	open(my $script, '>', "$extension/etl--1.0--$version.sql") or die "script: $!";
	print $script $sql;
	close($script);
	$control =~ s/default_version = '[^']*'/default_version = '$version'/;
	unlink("$extension/etl.control");
	open(my $fh, '>', "$extension/etl.control") or die "control: $!";
	print $fh $control;
	close($fh);
	return;
}

# replace_library installs the library as the build of another version would be; running servers keep the old file.
sub replace_library
{
	my ($self, $version) = @_;
	my $library = slurp_file("$self->{lib}/etl.so");

	$library =~ s/etl library version 1\.0/etl library version $version/ or die 'no version in the library';
	unlink("$self->{lib}/etl.so");
	open(my $fh, '>:raw', "$self->{lib}/etl.so") or die "library: $!";
	print $fh $library;
	close($fh);
	chmod(0755, "$self->{lib}/etl.so");
	return;
}

1;
