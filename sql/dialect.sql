-- Nobody has to know how a file is written, and nobody is left in a wrong belief: the dialect is found with a confidence, and what is not certain is asked for.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY sqlstate
\getenv abs_srcdir PG_ABS_SRCDIR
SELECT current_setting('data_directory') || '/etl_regress_di' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir -p ' || :'dir' || '/one ' || :'dir' || '/corpus && cp ' || :'abs_srcdir' || '/test/corpus/dialects/* ' || :'dir' || '/corpus' AS prepare,
	'cat > /dev/null; rm -rf ' || :'dir' AS clean, 'cat > /dev/null; printf ' AS printf, ' > ' || :'dir' || '/one/' AS into \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('di_corpus', 'file', jsonb_build_object('root', :'dir' || '/corpus'));
SELECT etl.define_source('di_files', 'file', jsonb_build_object('root', :'dir' || '/one'));

-- twelve files: what discover proposes to state, and how sure it is
SELECT stream, options - 'path' AS options, columns FROM etl.discover('di_corpus');
SELECT stream, substring(detail FROM 'encoding [A-Z0-9]+, .*') AS verdict FROM etl.discover('di_corpus');
-- what it proposes reads the file: every record of those that it is sure of lands
SELECT etl.define_stream('di.' || split_part(stream, '.', 2), 'di_corpus', options, format) FROM etl.discover('di_corpus') WHERE detail NOT LIKE '%not certain%';
CALL etl.run('di.*');
SELECT target, rows_read, rows_rejected FROM etl.loads WHERE target LIKE 'di.%' ORDER BY target;
SELECT name, score FROM di.utf ORDER BY id;
SELECT kunde FROM di.german_excel ORDER BY _etl_row;
SELECT text FROM di.backslash_escapes ORDER BY id;

-- a stream that leaves it open: found in its first file, kept for later ones, told in the log
SELECT :'printf' || $$'Name;Betrag\nA;1,50\nB;1.234,75\nC;7,25\nD;0,10\nE;12,00\n'$$ || :'into' || 'a.csv' AS a, :'printf' || $$''$$ || :'into' || 'a0.csv' AS empty, :'printf' || $$'Name;Betrag\nF;x\nG;2,50\n'$$ || :'into' || 'b.csv' AS b,
	:'printf' || $$'Name,Betrag\nH,3.50\n'$$ || :'into' || 'c.csv' AS c \gset
COPY (SELECT) TO PROGRAM :'empty';
SELECT etl.define_stream('di.open', 'di_files', '{"path": "*.csv", "dialect": "auto"}', columns => 'name text, betrag numeric');
CALL etl.run('di.open');
SELECT count(*) FROM etl.stream_dialect;
COPY (SELECT) TO PROGRAM :'a';
CALL etl.run('di.open');
COPY (SELECT) TO PROGRAM :'b';
CALL etl.run('di.open');
SELECT _etl_row, name, betrag FROM di.open ORDER BY _etl_load_id, _etl_row;
SELECT options - 'path' AS kept FROM etl.stream_dialect WHERE target = 'di.open';
SELECT message, replace(detail, :'dir', 'DIR') AS detail FROM etl.logs WHERE node = 'di.open' ORDER BY logged_at;
SELECT * FROM etl.replay('di.open', patch => '{"Betrag": "9.75"}');
SELECT name, betrag FROM di.open WHERE name = 'F';
-- a file that is written otherwise is not read by chance: its fields have no columns, its names are new
COPY (SELECT) TO PROGRAM :'c';
SELECT etl.define_stream('di.open', 'di_files', '{"path": "*.csv", "dialect": "auto"}', columns => 'name text, betrag numeric', schema_policy => 'freeze');
CALL etl.run('di.open');
SELECT replace(error, :'dir', 'DIR') AS error FROM etl.tasks WHERE node = 'di.open' AND status = 'failed' ORDER BY task_id DESC LIMIT 1;

-- what is not certain stops the run, which asks; what is stated is not doubted
SELECT etl.define_stream('di.words', 'di_corpus', '{"path": "09_words_only.csv", "dialect": "auto"}');
CALL etl.run('di.words');
SELECT replace(error, :'dir', 'DIR') AS error, detail, hint FROM etl.tasks WHERE node = 'di.words';
SELECT count(*) FROM etl.stream_dialect WHERE target = 'di.words';
SELECT etl.define_stream('di.words', 'di_corpus', '{"path": "09_words_only.csv", "dialect": "auto", "header": false}');
CALL etl.run('di.words');
SELECT _etl_row, column1, column2 FROM di.words ORDER BY _etl_row;
-- other options, or a reload of all, have it found anew
SELECT etl.define_stream('di.words', 'di_corpus', '{"path": "09_words_only.csv", "dialect": "auto"}');
SELECT etl.reload('di.words');
CALL etl.run('di.words');
SELECT count(*) FROM etl.stream_dialect WHERE target = 'di.words';
\set VERBOSITY terse
SELECT etl.define_stream('di.bad', 'di_corpus', '{"path": "*.csv", "dialect": "guess"}');
SELECT etl.define_stream('di.bad', 'di_corpus', '{"path": "*.json", "dialect": "auto"}', 'json');

-- a look tells what it takes a file for
SELECT :'printf' || $$'x|1\ny|2\n'$$ || :'into' || 'look.txt' AS look \gset
COPY (SELECT) TO PROGRAM :'look';
SELECT * FROM etl.preview('di_files', '{"path": "look.txt", "dialect": "auto"}');
SELECT * FROM etl.preview('di_files', '{"path": "look.txt", "dialect": "auto", "delimiter": "|", "header": false}');

SELECT etl.drop_source('di_files', cascade => true, drop_relation => true), etl.drop_source('di_corpus', cascade => true, drop_relation => true);
SELECT count(*) FROM etl.stream_dialect;
COPY (SELECT) TO PROGRAM :'clean';
