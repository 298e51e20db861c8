/*-------------------------------------------------------------------------
 *
 * secret.c
 *    Stored secrets: sealed bytes, or where to find them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "catalog/secret.h"
#include "catalog/sql.h"
#include "catalog/version.h"

EtlSecret *
etl_secret_find(const char *name)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	EtlSecret  *secret;
	Datum		value;
	bool		isnull;

	etl_param_text(&params, name);
	rows = etl_sql_query("SELECT * FROM etl.secret WHERE name = $1", &params);
	if (rows->n == 0)
		return NULL;

	secret = palloc0(sizeof(EtlSecret));
	secret->name = etl_row_text(rows, 0, "name");
	value = etl_row_datum(rows, 0, "sealed", &isnull);
	if (!isnull)
	{
		bytea	   *sealed = DatumGetByteaPCopy(value);

		secret->sealed = VARDATA(sealed);
		secret->sealed_length = VARSIZE(sealed) - VARHDRSZ;
	}
	secret->file = etl_row_text(rows, 0, "file");
	secret->env = etl_row_text(rows, 0, "env");
	(void) etl_row_datum(rows, 0, "allowed_hosts", &secret->any_host);
	secret->allowed_hosts = etl_row_texts(rows, 0, "allowed_hosts");
	secret->description = etl_row_text(rows, 0, "description");
	secret->owner = etl_row_text(rows, 0, "owner");
	return secret;
}

List *
etl_secret_names(void)
{
	EtlRows    *rows = etl_sql_query("SELECT name FROM etl.secret ORDER BY name", NULL);

	return etl_column_texts(rows, "name");
}

const char *
etl_secret_store(const EtlSecret *secret)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, secret->name);
	etl_param_bytea(&params, secret->sealed, secret->sealed_length);
	etl_param_text(&params, secret->file);
	etl_param_text(&params, secret->env);
	if (secret->any_host)
		etl_param_datum(&params, TEXTARRAYOID, (Datum) 0, true);
	else
		etl_param_texts(&params, secret->allowed_hosts);
	etl_param_text(&params, secret->description);
	etl_param_text(&params, secret->owner);
	rows = etl_sql_query("INSERT INTO etl.secret AS s (name, sealed, file, env, allowed_hosts,"
						 " description, owner) VALUES ($1, $2, $3, $4, $5, $6, $7)"
						 " ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed,"
						 " file = excluded.file, env = excluded.env,"
						 " allowed_hosts = excluded.allowed_hosts,"
						 " description = excluded.description,"
						 " version = s.version + 1, defined_at = clock_timestamp()"
						 " RETURNING xmax = 0 AS created", &params);
	return etl_defined("secret", secret->name, NULL,
					   etl_row_bool(rows, 0, "created") ? "created" : "updated");
}

List *
etl_secret_users(const char *name)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, name);
	rows = etl_sql_query("SELECT 'source ' || name AS used_by FROM etl.source"
						 " WHERE jsonb_path_exists(options, '$.** ? (@.secret == $name)',"
						 " jsonb_build_object('name', $1))"
						 " UNION ALL SELECT 'stream ' || target FROM etl.stream"
						 " WHERE jsonb_path_exists(options, '$.** ? (@.secret == $name)',"
						 " jsonb_build_object('name', $1)) ORDER BY 1", &params);
	return etl_column_texts(rows, "used_by");
}
