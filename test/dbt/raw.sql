-- What a loader would have landed for the project in this folder.
CREATE SCHEMA raw;
CREATE TABLE raw.customers (id int, name text, country text, updated_at timestamp);
INSERT INTO raw.customers VALUES
	(1, 'Ada', 'GB', '2026-09-01 10:00'), (2, 'Berta "B"', 'DE', '2026-09-02 11:00'), (3, 'Ciğdem', 'TR', '2026-09-03 12:00'),
	(4, 'Dora', NULL, '2026-09-04 13:00');
CREATE TABLE raw.orders (id int, customer_id int, status text, ordered_at timestamp);
INSERT INTO raw.orders SELECT i, 1 + i % 3, CASE i % 4 WHEN 0 THEN 'returned' WHEN 1 THEN 'placed' ELSE 'shipped' END,
	timestamp '2026-09-01' + i * interval '17 hours' FROM generate_series(1, 60) AS i;
CREATE TABLE raw.payments (id int, order_id int, cents bigint);
INSERT INTO raw.payments SELECT i, 1 + i % 60, i * 137 % 9000 FROM generate_series(1, 150) AS i;
