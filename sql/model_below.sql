-- A changed view or function below a model, and a clock or parameter inside one, make the model due; nothing else does.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
CREATE SCHEMA mb;
CREATE SCHEMA mb_first;
CREATE TABLE mb.orders (id int PRIMARY KEY, customer int, amount numeric, at date);
INSERT INTO mb.orders SELECT i, i % 3, i * 10, date '2026-01-01' + i FROM generate_series(1, 6) AS i;
CREATE TABLE mb.rates (id int PRIMARY KEY, rate numeric);
INSERT INTO mb.rates VALUES (1, 2), (2, 3);
SELECT etl.watch('mb.orders'), etl.watch('mb.rates');

CREATE VIEW mb.inner_view AS SELECT id, customer, amount, at FROM mb.orders;
CREATE FUNCTION mb.net(n numeric) RETURNS numeric IMMUTABLE LANGUAGE sql AS $$ SELECT n / 2 $$;
CREATE VIEW mb.outer_view AS SELECT id, customer, mb.net(amount) AS amount FROM mb.inner_view;
CREATE FUNCTION mb.twice(n numeric) RETURNS numeric IMMUTABLE LANGUAGE sql AS $$ SELECT n * 2 $$;
CREATE FUNCTION mb.fourfold(n numeric) RETURNS numeric IMMUTABLE LANGUAGE sql AS $$ SELECT mb.twice(mb.twice(n)) $$;
CREATE FUNCTION mb.atomic(n numeric) RETURNS numeric IMMUTABLE LANGUAGE sql RETURN mb.twice(n) + 1;
CREATE FUNCTION mb.opaque(n numeric) RETURNS numeric IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN n + 1; END $$;
CREATE FUNCTION mb.checked(n numeric) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$ SELECT n > 0 $$;
ALTER TABLE mb.orders ADD CHECK (mb.checked(amount));
CREATE VIEW mb.unused AS SELECT 1 AS one;

CREATE VIEW mb.told AS
	SELECT node, action, reason FROM etl.plan('mb.*') WHERE kind = 'model' AND action <> 'unchanged' ORDER BY node COLLATE "C";
CREATE VIEW mb.done AS
	SELECT node, action, status FROM etl.tasks
	WHERE run_id = etl.last_run_id() AND kind = 'model' AND action <> 'unchanged' ORDER BY node COLLATE "C";

SELECT etl.define_model('mb.of_view', 'SELECT id, amount FROM mb.outer_view', 'incremental', '{id}');
SELECT etl.define_model('mb.latest', 'SELECT DISTINCT ON (customer) customer, id FROM mb.inner_view ORDER BY customer, id DESC', 'incremental', '{customer}');
SELECT etl.define_model('mb.joined', 'SELECT o.id, o.amount * r.rate AS v FROM mb.inner_view o JOIN mb.rates r USING (id)', 'incremental', '{id}');
SELECT etl.define_model('mb.summed', 'SELECT customer, sum(mb.fourfold(amount)) AS v FROM mb.orders GROUP BY customer', 'incremental', '{customer}');
SELECT etl.define_model('mb.by_atomic', 'SELECT id, mb.atomic(amount) AS v FROM mb.orders', 'table', '{id}');
SELECT etl.define_model('mb.by_opaque', 'SELECT id, mb.opaque(amount) AS v FROM mb.orders', 'incremental', '{id}');
SELECT etl.define_model('mb.history', 'SELECT id, mb.twice(amount) AS v FROM mb.orders', 'snapshot', '{id}', strategy => 'check');
SELECT etl.define_model('mb.batched', 'SELECT id, at, mb.twice(amount) AS v FROM mb.orders', 'incremental', '{id}', event_time => 'at', batch_size => '1 month');
SELECT etl.define_model('mb.shown', 'SELECT id, mb.twice(amount) AS v FROM mb.inner_view');
SELECT etl.define_model('mb.of_shown', 'SELECT id, v FROM mb.shown', 'incremental', '{id}');
SELECT etl.define_model('mb.plain', 'SELECT id, amount FROM mb.orders', 'incremental', '{id}');
CALL etl.run('mb.*');
CALL etl.run('mb.*');
TABLE mb.told;

-- the same text, comments, costs, what nobody reads: nothing
CREATE OR REPLACE VIEW mb.inner_view AS SELECT id, customer, amount, at FROM mb.orders;
CREATE OR REPLACE FUNCTION mb.twice(n numeric) RETURNS numeric IMMUTABLE COST 7 LANGUAGE sql AS $$
	-- the same
	SELECT n   *   2 $$;
CREATE OR REPLACE FUNCTION mb.opaque(n numeric) RETURNS numeric IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN n + 1; END $$;
COMMENT ON VIEW mb.inner_view IS 'seen';
COMMENT ON FUNCTION mb.twice IS 'seen';
CREATE OR REPLACE VIEW mb.unused AS SELECT 2 AS one;
CREATE OR REPLACE FUNCTION mb.checked(n numeric) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$ SELECT n > -1 $$;
TABLE mb.told;

-- the inner view, below views and models of every shape
CREATE OR REPLACE VIEW mb.inner_view AS SELECT id, customer, amount + 1 AS amount, at FROM mb.orders WHERE id <> 6;
TABLE mb.told;
CALL etl.run('mb.*');
TABLE mb.done;
TABLE mb.told;
SELECT * FROM mb.of_view ORDER BY id;
SELECT * FROM mb.latest ORDER BY customer;
SELECT * FROM mb.joined ORDER BY id;
SELECT * FROM mb.of_shown ORDER BY id;
-- and incremental again
UPDATE mb.orders SET amount = 1000 WHERE id = 1;
CALL etl.run('mb.of_view mb.latest mb.joined');
TABLE mb.done;
SELECT * FROM mb.of_view ORDER BY id LIMIT 1;

-- functions: in a view, in a function, in another kind of body
CREATE OR REPLACE FUNCTION mb.net(n numeric) RETURNS numeric IMMUTABLE LANGUAGE sql AS $$ SELECT n / 4 $$;
TABLE mb.told;
CREATE OR REPLACE FUNCTION mb.twice(n numeric) RETURNS numeric IMMUTABLE LANGUAGE sql AS $$ SELECT n * 20 $$;
CREATE OR REPLACE FUNCTION mb.opaque(n numeric) RETURNS numeric IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN n + 100; END $$;
TABLE mb.told;
CALL etl.run('mb.*');
TABLE mb.done;
TABLE mb.told;
SELECT * FROM mb.summed ORDER BY customer;
SELECT max(v) FROM mb.by_atomic;
SELECT max(v) FROM mb.by_opaque;
SELECT id, v, valid_to IS NULL AS current FROM mb.history WHERE id = 2 ORDER BY valid_from;
SELECT max(v) FROM mb.batched;
SELECT max(v) FROM mb.of_shown;
-- how it may be called is a part of it
ALTER FUNCTION mb.opaque STRICT;
ALTER FUNCTION mb.atomic STABLE;
TABLE mb.told;
CALL etl.run('mb.*');

-- another function of the same name, made anew
DROP FUNCTION mb.opaque;
CREATE FUNCTION mb.opaque(n numeric) RETURNS numeric IMMUTABLE STRICT LANGUAGE plpgsql AS $$ BEGIN RETURN n + 100; END $$;
TABLE mb.told;
DROP FUNCTION mb.opaque;
CREATE FUNCTION mb.opaque(n numeric, more numeric DEFAULT 5) RETURNS numeric IMMUTABLE STRICT LANGUAGE sql AS $$ SELECT n + more $$;
TABLE mb.told;
CALL etl.run('mb.by_opaque');
CREATE OR REPLACE FUNCTION mb.opaque(n numeric, more numeric DEFAULT 6) RETURNS numeric IMMUTABLE STRICT LANGUAGE sql AS $$ SELECT n + more $$;
TABLE mb.told;
CALL etl.run('mb.by_opaque');
SELECT max(v) FROM mb.by_opaque;

-- what a view reads from then on counts, also behind a view of etl's that is not built
CREATE OR REPLACE VIEW mb.inner_view AS SELECT id, 0 AS customer, rate AS amount, NULL::date AS at FROM mb.rates;
CALL etl.run('mb.of_view mb.of_shown');
SELECT * FROM mb.of_shown ORDER BY id;
INSERT INTO mb.rates VALUES (3, 4);
SELECT node, action FROM mb.told WHERE node IN ('mb.of_view', 'mb.of_shown');
CALL etl.run('mb.of_view mb.of_shown');
SELECT * FROM mb.of_view ORDER BY id;
SELECT * FROM mb.of_shown ORDER BY id;
-- columns that change their names
CALL etl.run('mb.*');
ALTER VIEW mb.outer_view RENAME id TO i;
ALTER VIEW mb.outer_view RENAME customer TO id;
ALTER VIEW mb.outer_view RENAME i TO customer;
TABLE mb.told;
-- a view made anew with other types
DROP VIEW mb.inner_view CASCADE;
CREATE VIEW mb.inner_view AS SELECT id::bigint AS id, customer, amount::int AS amount, at FROM mb.orders;
CREATE VIEW mb.outer_view AS SELECT id, customer, mb.net(amount) AS amount FROM mb.inner_view;
TABLE mb.told;
CALL etl.run('mb.*');
TABLE mb.told;
SELECT pg_typeof(id) FROM mb.of_view LIMIT 1;
SELECT etl.drop_model('mb.of_shown', drop_relation => true);
SELECT count(etl.drop_model(target, drop_relation => true)) FROM etl.models WHERE target LIKE 'mb.%';

-- functions that are not called by their name
CREATE FUNCTION mb.near(a numeric, b numeric) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$ SELECT abs(a - b) < 1 $$;
CREATE OPERATOR mb.=~ (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = mb.near);
CREATE FUNCTION mb.add(s numeric, n numeric) RETURNS numeric IMMUTABLE LANGUAGE sql AS $$ SELECT coalesce(s, 0) + n $$;
CREATE AGGREGATE mb.total(numeric) (SFUNC = mb.add, STYPE = numeric);
CREATE TYPE mb.code AS (c int);
CREATE FUNCTION mb.to_code(int) RETURNS mb.code IMMUTABLE LANGUAGE sql AS $$ SELECT ROW($1)::mb.code $$;
CREATE CAST (int AS mb.code) WITH FUNCTION mb.to_code(int);
CREATE FUNCTION mb.rows_of(c int) RETURNS TABLE (id int) STABLE LANGUAGE sql AS $$ SELECT id FROM mb.orders WHERE customer = c $$;
-- and those that call themselves, have several meanings, or take anything
CREATE FUNCTION mb.down(n int) RETURNS int IMMUTABLE LANGUAGE sql AS $$ SELECT n $$;
CREATE OR REPLACE FUNCTION mb.down(n int) RETURNS int IMMUTABLE LANGUAGE sql AS $$ SELECT CASE WHEN n > 0 THEN mb.down(n - 1) ELSE 0 END $$;
CREATE FUNCTION mb.even(n int) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$ SELECT true $$;
CREATE FUNCTION mb.odd(n int) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$ SELECT CASE WHEN n = 0 THEN false ELSE mb.even(n - 1) END $$;
CREATE OR REPLACE FUNCTION mb.even(n int) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$ SELECT CASE WHEN n = 0 THEN true ELSE mb.odd(n - 1) END $$;
CREATE FUNCTION mb.said(n int) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'int' $$;
CREATE FUNCTION mb.said(n text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'text' $$;
CREATE FUNCTION mb.any(n anyelement) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT mb.said(n) $$;
CREATE FUNCTION mb.path() RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'mb' $$;
SET search_path = mb_first, mb, public;
CREATE FUNCTION mb.outer_path() RETURNS text STABLE LANGUAGE sql AS $$ SELECT path() $$;
SELECT etl.define_model('mb.o', 'SELECT id FROM mb.orders WHERE amount OPERATOR(mb.=~) 20.5', 'incremental', '{id}');
SELECT etl.define_model('mb.agg', 'SELECT customer, mb.total(amount) FROM mb.orders GROUP BY customer', 'incremental', '{customer}');
SELECT etl.define_model('mb.cast', 'SELECT id, (id::mb.code)::text AS c FROM mb.orders', 'incremental', '{id}');
SELECT etl.define_model('mb.set', 'SELECT r.id FROM mb.rows_of(1) AS r', 'table', '{id}');
SELECT etl.define_model('mb.self', 'SELECT id, mb.down(id) FROM mb.orders', 'incremental', '{id}');
SELECT etl.define_model('mb.mutual', 'SELECT id, mb.odd(id) FROM mb.orders', 'incremental', '{id}');
SELECT etl.define_model('mb.any_int', 'SELECT id, mb.any(id) FROM mb.orders', 'incremental', '{id}');
SELECT etl.define_model('mb.any_text', 'SELECT id, mb.any(id::text) FROM mb.orders', 'incremental', '{id}');
SELECT etl.define_model('mb.found', 'SELECT id, outer_path() AS p FROM mb.orders', 'incremental', '{id}');
RESET search_path;
CALL etl.run('mb.*');
TABLE mb.told;
CREATE OR REPLACE FUNCTION mb.near(a numeric, b numeric) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$ SELECT abs(a - b) < 10 $$;
CREATE OR REPLACE FUNCTION mb.add(s numeric, n numeric) RETURNS numeric IMMUTABLE LANGUAGE sql AS $$ SELECT coalesce(s, 0) + n + 1 $$;
CREATE OR REPLACE FUNCTION mb.to_code(int) RETURNS mb.code IMMUTABLE LANGUAGE sql AS $$ SELECT ROW($1 + 1)::mb.code $$;
CREATE OR REPLACE FUNCTION mb.rows_of(c int) RETURNS TABLE (id int) STABLE LANGUAGE sql AS $$ SELECT id FROM mb.orders WHERE customer = c + 1 $$;
TABLE mb.told;
CALL etl.run('mb.*');
CREATE OR REPLACE FUNCTION mb.down(n int) RETURNS int IMMUTABLE LANGUAGE sql AS $$ SELECT CASE WHEN n > 0 THEN mb.down(n - 1) ELSE 1 END $$;
CREATE OR REPLACE FUNCTION mb.even(n int) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$ SELECT CASE WHEN n = 0 THEN false ELSE mb.odd(n - 1) END $$;
CREATE OR REPLACE FUNCTION mb.said(n text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'words' $$;
CREATE FUNCTION mb_first.path() RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'first' $$;
TABLE mb.told;
CALL etl.run('mb.*');
TABLE mb.told;
SELECT * FROM mb.found ORDER BY id LIMIT 1;
SELECT count(etl.drop_model(target, drop_relation => true)) FROM etl.models WHERE target LIKE 'mb.%';

-- the clock and parameters, wherever they are
CREATE FUNCTION mb.since() RETURNS date STABLE LANGUAGE sql AS $$ SELECT current_date - 10000 $$;
CREATE FUNCTION mb.since_word() RETURNS date STABLE LANGUAGE sql AS $$ SELECT 'today'::date - 10000 $$;
CREATE FUNCTION mb.deep() RETURNS date STABLE LANGUAGE sql AS $$ SELECT mb.since() $$;
CREATE FUNCTION mb.steps() RETURNS date STABLE LANGUAGE sql AS $$ SELECT 1; SELECT mb.deep() $$;
CREATE FUNCTION mb.least() RETURNS int STABLE LANGUAGE sql AS $$ SELECT etl.param('least', '0')::int $$;
CREATE FUNCTION mb.param_of(name text) RETURNS text STABLE LANGUAGE sql AS $$ SELECT etl.param(name, '0') $$;
CREATE VIEW mb.recent AS SELECT id FROM mb.orders WHERE at > mb.deep();
CREATE VIEW mb.more AS SELECT id FROM mb.orders WHERE id >= mb.least();
CREATE VIEW mb.made AS SELECT id, date 'today' AS made FROM mb.orders;
SELECT etl.define_model('mb.c_direct', 'SELECT id FROM mb.orders WHERE at > current_date - 10000', 'incremental', '{id}');
SELECT etl.define_model('mb.c_function', 'SELECT id FROM mb.orders WHERE at > mb.deep()', 'incremental', '{id}');
SELECT etl.define_model('mb.c_steps', 'SELECT id FROM mb.orders WHERE at > mb.steps()', 'incremental', '{id}');
SELECT etl.define_model('mb.c_view', 'SELECT id FROM mb.recent', 'incremental', '{id}');
SELECT etl.define_model('mb.c_body', 'SELECT id FROM mb.orders WHERE at > mb.since_word()', 'incremental', '{id}');
SELECT etl.define_model('mb.c_word', 'SELECT id FROM mb.orders WHERE at < ''ToMorrow'' OR id > 0', 'incremental', '{id}');
SELECT etl.define_model('mb.c_cast', 'SELECT id, $x$now$x$::timestamptz > at AS past FROM mb.orders', 'table', '{id}');
SELECT etl.define_model('mb.c_text', 'SELECT id, ''yesterday''::text::date > at AS past FROM mb.orders', 'table', '{id}');
SELECT etl.define_model('mb.c_range', 'SELECT id, daterange ''[today,)'' @> at AS future FROM mb.orders', 'table', '{id}');
SELECT etl.define_model('mb.c_shown', 'SELECT id, date ''today'' AS d FROM mb.orders');
-- these mean the same every day
SELECT etl.define_model('mb.k_fixed', 'SELECT id, date ''2026-11-20'' AS d, ''now''::text AS word, ''{"a": "today"}''::jsonb AS j FROM mb.orders', 'incremental', '{id}');
SELECT etl.define_model('mb.k_made', 'SELECT id FROM mb.made WHERE made > date ''2020-01-01''', 'incremental', '{id}');
SELECT etl.define_model('mb.k_shown', 'SELECT id, now() AS t FROM mb.orders');
-- parameters
SELECT etl.define_model('mb.p_function', 'SELECT id FROM mb.orders WHERE id >= mb.least()', 'incremental', '{id}');
SELECT etl.define_model('mb.p_view', 'SELECT id FROM mb.more', 'incremental', '{id}');
SELECT etl.define_model('mb.p_computed', 'SELECT id FROM mb.orders WHERE id >= mb.param_of(''least'')::int', 'incremental', '{id}');
SELECT etl.define_model('mb.p_time', 'SELECT id FROM mb.orders WHERE at < etl.param(''until'', ''2030-01-01'')::date', 'incremental', '{id}');
CALL etl.run('mb.*');
CALL etl.run('mb.*');
SELECT t.node, t.action, t.reason FROM etl.tasks AS t
WHERE run_id = etl.last_run_id() AND kind = 'model' ORDER BY node COLLATE "C";
CALL etl.run('mb.p_*', params => '{"least": "4"}');
TABLE mb.done;
SELECT (SELECT count(*) FROM mb.p_function) AS f, (SELECT count(*) FROM mb.p_view) AS v, (SELECT count(*) FROM mb.p_computed) AS c;
CALL etl.run('mb.p_*', params => '{"least": "4"}');
TABLE mb.done;
CALL etl.run('mb.p_time', params => '{"until": "tomorrow"}');
CALL etl.run('mb.p_time', params => '{"until": "tomorrow"}');
TABLE mb.done;
CALL etl.run('mb.p_time');
CALL etl.run('mb.p_time');
TABLE mb.done;
SELECT count(etl.drop_model(target, drop_relation => true)) FROM etl.models WHERE target LIKE 'mb.%';

-- a function with other rights than the model's owner has
CREATE ROLE etlt_below;
GRANT etl_developer TO etlt_below;
CREATE SCHEMA mb_hidden;
CREATE FUNCTION mb_hidden.day() RETURNS date STABLE LANGUAGE sql AS $$ SELECT current_date $$;
CREATE FUNCTION mb.lent() RETURNS date STABLE SECURITY DEFINER LANGUAGE sql AS $$ SELECT mb_hidden.day() $$;
GRANT USAGE, CREATE ON SCHEMA mb TO etlt_below;
GRANT SELECT ON mb.orders TO etlt_below;
SET ROLE etlt_below;
SELECT etl.define_model('mb.rights', 'SELECT id, mb.lent() > at AS past FROM mb.orders', 'incremental', '{id}');
RESET ROLE;
CALL etl.run('mb.rights');
CALL etl.run('mb.rights');
SELECT node, reason FROM mb.told;
CREATE OR REPLACE FUNCTION mb_hidden.day() RETURNS date STABLE LANGUAGE sql AS $$ SELECT date '2026-01-03' $$;
TABLE mb.told;
CALL etl.run('mb.rights');
TABLE mb.told;
SELECT count(*) FROM mb.rights WHERE past;
SELECT etl.drop_model('mb.rights', drop_relation => true);

-- option depends_on follows a view that etl does not manage
CREATE VIEW mb.lookup AS SELECT max(rate) AS top FROM mb.rates;
CREATE FUNCTION mb.top() RETURNS numeric STABLE LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT top FROM mb.lookup); END $$;
SELECT etl.define_model('mb.declared', 'SELECT id, amount * mb.top() AS v FROM mb.orders', 'incremental', '{id}', options => '{"depends_on": ["mb.lookup"]}');
CALL etl.run('mb.declared');
SELECT depends_on FROM etl.dependencies WHERE node = 'mb.declared' ORDER BY 1;
UPDATE mb.rates SET rate = 50 WHERE id = 3;
SELECT node, action, reason FROM mb.told;
CALL etl.run('mb.declared');
CREATE OR REPLACE VIEW mb.lookup AS SELECT min(rate) AS top FROM mb.rates;
SELECT node, action, reason FROM mb.told;
CALL etl.run('mb.declared');
SELECT * FROM mb.declared ORDER BY id LIMIT 1;
SELECT etl.drop_model('mb.declared', drop_relation => true);

-- a function names relations by its own search path, and what it names is an input
CREATE FUNCTION mb_first.total() RETURNS numeric STABLE LANGUAGE sql SET search_path = mb AS $$ SELECT sum(amount) FROM orders $$;
SELECT etl.define_model('mb.in_own_path', 'SELECT mb_first.total() AS total', 'table');
SELECT depends_on FROM etl.plan('mb.in_own_path');
CALL etl.run('mb.in_own_path');
UPDATE mb.orders SET amount = amount + 1000 WHERE id = 1;
CALL etl.run('mb.in_own_path');
SELECT total = (SELECT sum(amount) FROM mb.orders) AS is_new FROM mb.in_own_path;
SELECT etl.drop_model('mb.in_own_path', drop_relation => true);

SELECT etl.unwatch('mb.orders'), etl.unwatch('mb.rates');
DROP SCHEMA mb, mb_first, mb_hidden CASCADE;
DROP OWNED BY etlt_below;
DROP ROLE etlt_below;
