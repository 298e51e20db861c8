-- Elements of XML documents land as records: attributes, name spaces, nested and repeated elements; what is dangerous or broken is refused with the reason.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT current_setting('data_directory') || '/etl_regress_xm' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean,
	'cat > /dev/null; (echo "<a>"; for i in $(seq 20000); do echo "<r><n>$i</n></r>"; done; echo "</a>") | gzip | head -c 20000 > ' || :'dir' || '/cut.xml.gz' AS cut \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('xm_files', 'file', jsonb_build_object('root', :'dir'));
CREATE FUNCTION public.xm_write(name text, content bytea) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('COPY (SELECT) TO PROGRAM %L', format('cat > /dev/null; echo %s | base64 -d > %s/etl_regress_xm/%s',
		translate(encode(content, 'base64'), E'\n', ''), current_setting('data_directory'), name));
END
$$;
CREATE FUNCTION public.xm_write(name text, content text) RETURNS void LANGUAGE sql AS $$ SELECT public.xm_write(name, convert_to(content, 'UTF8')) $$;

-- attributes, elements and texts are fields; what is missing or nil is NULL, what is empty an empty text, what comes twice an array
SELECT public.xm_write('orders.xml', $$<?xml version="1.0"?>
<!-- <order id="0"/> -->
<shop xmlns:x="http://x" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <head><order id="99"/></head>
 <orders>
  <order id="1" state="paid"><x:amount currency="EUR">12.50</x:amount><day>2024-01-02</day><note>a &amp; b &lt; c</note><tag>x</tag><tag>y "q"</tag></order>
  <order id="2"><x:amount>7</x:amount><day xsi:nil="true"/><note/></order>
  <x:order id="3"><x:amount>1.5</x:amount><note><![CDATA[<b>&amp;]]></note><items><item n="1">pen</item><item/></items></x:order>
  <order id="x"><x:amount>2</x:amount></order>
 </orders>
</shop>
$$);
SELECT etl.define_stream('xm.orders', 'xm_files', '{"path": "orders.xml", "records": "shop/orders/order"}', columns => 'id int');
CALL etl.run('xm.orders');
SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute WHERE attrelid = 'xm.orders'::regclass AND attnum > 2 ORDER BY attnum;
SELECT _etl_row, id, state, amount, amount_currency, day, note, tag, items FROM xm.orders ORDER BY _etl_row;
SELECT position, record, reasons->0->>'message' AS message FROM etl.rejects WHERE target = 'xm.orders';
SELECT * FROM etl.replay('xm.orders', patch => '{"id": 4}');
SELECT _etl_row, id, amount FROM xm.orders WHERE id = 4;
-- paths: any element, a prefix, the children of the root, nothing that matches
SELECT etl.define_stream('xm.any', 'xm_files', '{"path": "orders.xml", "records": "*/*/order"}'),
	etl.define_stream('xm.prefixed', 'xm_files', '{"path": "orders.xml", "records": "shop/orders/x:order"}'),
	etl.define_stream('xm.children', 'xm_files', '{"path": "orders.xml"}'), etl.define_stream('xm.nowhere', 'xm_files', '{"path": "orders.xml", "records": "shop/order"}');
CALL etl.run('xm.any xm.prefixed xm.children xm.nowhere');
SELECT target, rows_read, rows_loaded FROM etl.loads WHERE target IN ('xm.any', 'xm.prefixed', 'xm.children', 'xm.nowhere') ORDER BY target;
SELECT etl.define_stream('xm.bad', 'xm_files', '{"path": "orders.xml", "records": "//order"}');
SELECT etl.define_stream('xm.bad', 'xm_files', '{"path": "orders.xml", "records": "order[1]"}');
SELECT etl.define_stream('xm.bad', 'xm_files', '{"path": "orders.xml", "delimiter": ","}');

-- encodings: as the document says, as its mark says, as the option says
SELECT public.xm_write('latin.xml', convert_to('<?xml version="1.0" encoding="ISO-8859-1"?><r><a t="José">ü</a></r>', 'LATIN1'));
SELECT public.xm_write('lied.xml', convert_to('<?xml version="1.0" encoding="UTF-8"?><r><a t="José">ü€</a></r>', 'WIN1252'));
SELECT public.xm_write('wide.xml', '\xfffe'::bytea || decode(regexp_replace(encode(convert_to('<?xml version="1.0" encoding="UTF-16"?><r><a t="Jos">u</a></r>', 'LATIN1'), 'hex'), '(..)', '\100', 'g'), 'hex'));
SELECT etl.define_stream('xm.latin', 'xm_files', '{"path": "latin.xml"}'), etl.define_stream('xm.lied', 'xm_files', '{"path": "lied.xml", "encoding": "WIN1252"}'), etl.define_stream('xm.wide', 'xm_files', '{"path": "wide.xml"}');
CALL etl.run('xm.latin xm.lied xm.wide');
SELECT t, a FROM xm.latin UNION ALL SELECT t, a FROM xm.lied UNION ALL SELECT t, a FROM xm.wide;

-- refused: entities of every kind, documents that break, that end early, that are none; nothing of them lands
SELECT public.xm_write('laughs.xml', '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><r><x>&c;</x></r>');
SELECT public.xm_write('outside.xml', '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY f SYSTEM "file:///etc/passwd">]><r><x>&f;</x></r>');
SELECT public.xm_write('parameter.xml', '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY % p SYSTEM "http://127.0.0.1:1/x"> %p;]><r><x>1</x></r>');
SELECT public.xm_write('unknown.xml', '<r><x>&nope;</x></r>');
SELECT public.xm_write('broken.xml', E'<r>\n<x>1</x>\n<x><y>2</x>\n<x>3</x></r>');
SELECT public.xm_write('early.xml', '<r><x>1</x><x>2');
SELECT public.xm_write('behind.xml', '<r><x>1</x></r><r/>');
SELECT public.xm_write('nothing.xml', 'id,name');
SELECT public.xm_write('bytes.xml', '<r><x>a'::bytea || '\xff'::bytea || '</x></r>'::bytea);
SELECT 'cat > /dev/null; (printf ''<r><x>''; yes ''<y>0123456789</y>'' | head -n 100000; printf ''</x></r>'') > ' || :'dir' || '/huge.xml' AS huge \gset
COPY (SELECT) TO PROGRAM :'huge';
SELECT public.xm_write('large.xml', '<r><x>' || repeat('a', 70000) || '</x><x>b</x></r>');
SELECT public.xm_write('typed.xml', '<?xml version="1.0"?><!DOCTYPE r SYSTEM "http://127.0.0.1:1/r.dtd"><r><x>1</x></r>');
SELECT public.xm_write('empty.xml', '');
SET etl.max_record_size = '64kB';
\set VERBOSITY sqlstate
SELECT count(etl.define_stream('xm.' || n, 'xm_files', jsonb_build_object('path', n || '.xml'))) FROM unnest('{laughs,outside,parameter,unknown,broken,early,behind,nothing,bytes,huge,large,typed,empty}'::text[]) AS n;
CALL etl.run('xm.laughs xm.outside xm.parameter xm.unknown xm.broken xm.early xm.behind xm.nothing xm.bytes xm.huge xm.large xm.typed xm.empty');
SELECT node, status, replace(error, :'dir', 'DIR') AS error, detail FROM etl.tasks WHERE node ~ '^xm.(laughs|outside|parameter|unknown|broken|early|behind|nothing|bytes|huge|large|typed|empty)$' ORDER BY node;
SELECT target, rows_read, rows_loaded, rows_rejected FROM etl.loads WHERE target IN ('xm.broken', 'xm.large', 'xm.typed', 'xm.empty') ORDER BY target;
SELECT record_size > 70000 AS whole_size, length(record) < 70000 AS cut, reasons->0->>'check' AS "check" FROM etl.rejects WHERE target = 'xm.large';
SELECT x FROM xm.typed;

-- what goes wrong in reading is told as it is, not as a fault of the XML, and the session goes on
COPY (SELECT) TO PROGRAM :'cut';
SELECT etl.define_stream('xm.cut', 'xm_files', '{"path": "cut.xml.gz"}');
CALL etl.run('xm.cut');
CALL etl.run('xm.cut');
SELECT DISTINCT status, sqlstate, replace(error, :'dir', 'DIR') AS error, detail FROM etl.tasks WHERE node = 'xm.cut';
SELECT to_regclass('xm.cut') IS NULL AS nothing;

SELECT etl.drop_source('xm_files', cascade => true, drop_relation => true);
DROP FUNCTION public.xm_write(text, text);
DROP FUNCTION public.xm_write(text, bytea);
COPY (SELECT) TO PROGRAM :'clean';
