# A file source reads regular files below the allowed directories, with its owner's rights, and nothing else.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX qw(mkfifo);
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $number = 0;

# put writes a csv file with one record and the given age in seconds.
sub put
{
	my ($name, $value, $age) = @_;
	my $path = "$dir/$name";

	system('mkdir', '-p', $path =~ s{/[^/]*$}{}r) == 0 or die;
	append_to_file($path, "v\n$value\n");
	utime(time - ($age // 0), time - ($age // 0), $path);
	return;
}

put('in/1.csv', 'one', 10);
put('in/a/2.csv', 'two', 1000);
put('in/a/b/3.csv', 'three', 100);
put('in/.hidden/4.csv', 'four');
put('in/weird "name" [x].csv', 'five', 5);
put('in/day=1/e.csv', 'seven');
put('out/secret.csv', 'six');
symlink('1.csv', "$dir/in/same.csv");
symlink('../out/secret.csv', "$dir/in/leads_out.txt");
symlink('../out', "$dir/in/directory_out");
mkfifo("$dir/in/pipe.fifo", 0600);
mkdir "$dir/in/directory.csv";
symlink("$dir/in", "$dir/way_in");

my $node = PostgreSQL::Test::Cluster->new('files');
$node->init;
$node->append_conf('postgresql.conf', "etl.allowed_directories = '$dir/in'\nfsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION etl; CREATE SCHEMA raw; CREATE ROLE loader LOGIN;
	GRANT etl_developer, etl_operator TO loader; GRANT USAGE, CREATE ON SCHEMA raw TO loader');
$node->safe_psql('postgres', qq(SELECT etl.define_source('rooted', 'file', '{"root": "$dir/in"}');
	SELECT etl.define_source('rootless', 'file')));

# pull runs a new stream over a path; returns its SQLSTATE, or the values in load order.
sub pull
{
	my ($path, %more) = @_;
	my $name = 'raw.f' . ++$number;
	my $source = $more{source} // 'rooted';
	my $order = $more{order} // 'name';
	my @as = $more{as} ? (extra_params => [ '-U', $more{as} ]) : ();

	$node->safe_psql('postgres', "SELECT etl.define_stream('$name', '$source',
		jsonb_build_object('path', \$\$$path\$\$, 'order', '$order'), 'csv', columns => 'v text')", @as);
	$node->psql('postgres', "CALL etl.run('$name')", @as);
	my $code = $node->safe_psql('postgres', "SELECT coalesce(sqlstate, '') FROM etl.tasks WHERE node = '$name'");
	return $code if $code ne '';
	return '' if $node->safe_psql('postgres', "SELECT to_regclass('$name') IS NULL") eq 't';
	return $node->safe_psql('postgres', "SELECT string_agg(v, ' ' ORDER BY _etl_load_id) FROM $name");
}

is(pull('*.csv'), 'one five', 'a pattern; a file that a symlink leads to is loaded once');
is(pull('**/*.csv'), 'one two three seven five', '** goes through directories, not into hidden ones or symlinks');
is(pull('**/*.csv', order => 'mtime'), 'two three one five seven', 'order by modification time');
is(pull('a/**'), 'two three', '** at the end means every file below');
is(pull('[0-9].cs?'), 'one', 'other wildcards');
is(pull('weird "name" [[]x].csv'), 'five', 'a hostile name');
is(pull('.hidden/*.csv'), 'four', 'a hidden directory when it is named');
is(pull('day=*/*.csv'), 'seven', 'a wildcard in a directory');
is(pull('nothing/*.csv'), '', 'a pattern without a match succeeds');
is(pull("$dir/way_in/1.csv", source => 'rootless'), 'one', 'a symlink into an allowed directory');

is(pull('leads_out.txt'), 'ET004', 'a symlink that leads out');
is(pull('*.txt'), 'ET004', 'also when a pattern finds it');
is(pull('directory_out/*.csv'), 'ET004', 'a symlink to a directory outside');
is(pull('../out/*.csv'), 'ET004', '.. does not leave the root');
is(pull('a/../../out/secret.csv'), 'ET004', 'nor further down');
is(pull("$dir/out/secret.csv", source => 'rootless'), 'ET004', 'a file outside the allowed directories');
is(pull('/etc/*', source => 'rootless'), 'ET004', 'a directory outside is not even listed');
is(pull('/etc/no_such_file', source => 'rootless'), 'ET004', 'nor does it tell what exists there');
is(pull('directory.csv'), 'ET004', 'a directory is no file');
is(pull('pipe.fifo'), 'ET004', 'a pipe is no file, and does not hang the run');

is(pull('1.csv', as => 'loader'), '42501', 'an owner without pg_read_server_files');
is($node->safe_psql('postgres', "SELECT hint LIKE 'Run GRANT pg_read_server_files TO loader%' FROM etl.tasks WHERE node = 'raw.f$number'"),
	't', 'the hint says what to do');
$node->safe_psql('postgres', 'GRANT pg_read_server_files TO loader');
is(pull('1.csv', as => 'loader'), 'one', 'and with it');
$node->safe_psql('postgres', 'REVOKE pg_read_server_files FROM loader');
put('in/1.csv', 'more');
$node->psql('postgres', "CALL etl.run('raw.f$number')");
is($node->safe_psql('postgres', "SELECT sqlstate FROM etl.tasks WHERE node = 'raw.f$number' ORDER BY task_id DESC LIMIT 1"),
	'42501', 'rights are judged at every run, as the owner, whoever calls');

$node->safe_psql('postgres', "ALTER SYSTEM SET etl.allowed_directories = ''");
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('etl.allowed_directories') = ''");
is(pull('1.csv'), 'ET004', 'without allowed directories nothing is read');

$node->stop;
done_testing();
