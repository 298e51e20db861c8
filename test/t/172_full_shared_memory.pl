# A session that finds shared memory full works all the same, and survives the errors that follow.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('full');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nlog_min_messages = warning\nmax_connections = 10\n");
$node->start;

# What the table of locks has taken it keeps, although the locks go with their session.
my (undef, undef, $full) = $node->psql('postgres', 'SELECT count(pg_advisory_lock(i)) FROM generate_series(1, 1000000) i');
like($full, qr/out of shared memory/, 'shared memory is full');

# An error that a function catches is one of those that empty the context of errors.
my ($code, $out, $errors) = $node->psql('postgres', q(
	CREATE EXTENSION etl;
	CREATE SCHEMA m;
	CREATE TABLE m.input AS SELECT i FROM generate_series(1, 100) i;
	CREATE FUNCTION m.share(i int) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		RETURN 100 / (i % 2);
	EXCEPTION WHEN division_by_zero THEN
		RETURN repeat('none ', 10);
	END $$;
	SELECT etl.define_model('m.shares', 'SELECT i, m.share(i) AS share FROM m.input', 'table');
	SELECT etl.define_model('m.wrong', 'SELECT i / (i - i) AS q FROM m.shares', 'table');
	CALL etl.run();
	SELECT node, status, error FROM etl.tasks ORDER BY node;
	SELECT share, count(*) FROM m.shares GROUP BY 1 ORDER BY 1;), on_error_stop => 0);
is($code, 0, 'the session survives');
like($errors, qr/division by zero/, 'its errors are told');
like($out, qr/^m\.shares\|succeeded\|\nm\.wrong\|failed\|division by zero\n100\|50\nnone (none ){9}\|50$/m,
	'and written down, and the rest is built') or diag("$out\n$errors");
$node->stop;
done_testing();
