/*-------------------------------------------------------------------------
 *
 * kept.c
 *    Former publications: where their rows are, and what they were built of.
 *
 * What was consumed is kept beside the rows: when they come back, the next
 * run goes on from there.  Recorded changes are not: they may be pruned in
 * the meantime, so an input whose rows changed makes the next build a full
 * one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/kept.h"
#include "catalog/sql.h"
#include "catalog/version.h"
#include "common/wake.h"

void
etl_kept_store(const char *target, const char *relation)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_text(&params, relation);
	etl_sql_exec("INSERT INTO etl.kept (target, publication, version, relation, state, consumed)"
				 " SELECT target, publication, built_version, $2, to_jsonb(s),"
				 " (SELECT coalesce(jsonb_agg(to_jsonb(c)), '[]') FROM etl.consumed AS c WHERE c.model = $1)"
				 " FROM etl.node_state AS s WHERE target = $1"
				 " ON CONFLICT (target, publication) DO UPDATE SET version = excluded.version,"
				 " relation = excluded.relation, state = excluded.state, consumed = excluded.consumed",
				 &params);
}

List *
etl_kept_of(const char *target)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	List	   *result = NIL;

	etl_param_text(&params, target);
	rows = etl_sql_query("SELECT *, state ->> 'built_fingerprint' AS fingerprint FROM etl.kept"
						 " WHERE target = $1 ORDER BY publication DESC", &params);
	for (int i = 0; i < rows->n; i++)
	{
		EtlKept    *kept = palloc0(sizeof(EtlKept));

		kept->target = etl_row_text(rows, i, "target");
		kept->publication = etl_row_int8(rows, i, "publication");
		kept->version = etl_row_int4(rows, i, "version");
		kept->relation = etl_row_text(rows, i, "relation");
		kept->fingerprint = etl_row_text(rows, i, "fingerprint");
		kept->state = etl_row_jsonb(rows, i, "state");
		kept->consumed = etl_row_jsonb(rows, i, "consumed");
		result = lappend(result, kept);
	}
	return result;
}

void
etl_kept_forget(const EtlKept *kept)
{
	EtlParams	params = {0};

	etl_param_text(&params, kept->target);
	etl_param_int8(&params, kept->publication);
	etl_sql_exec("DELETE FROM etl.kept WHERE target = $1 AND publication = $2", &params);
}

void
etl_kept_restore(const EtlKept *kept, int version)
{
	EtlParams	params = {0};

	etl_param_text(&params, kept->target);
	etl_param_jsonb(&params, kept->state);
	etl_param_int4(&params, version);
	etl_sql_exec("UPDATE etl.node_state SET inputs = $2 -> 'inputs', rebuild = $2 ->> 'rebuild',"
				 " built_fingerprint = $2 ->> 'built_fingerprint', built_version = $3 WHERE target = $1",
				 &params);

	params.n = 1;
	etl_sql_exec("DELETE FROM etl.consumed WHERE model = $1", &params);
	params.n = 0;
	etl_param_jsonb(&params, kept->consumed);
	etl_sql_exec("INSERT INTO etl.consumed (model, stream, loads, missing)"
				 " SELECT model, stream, loads, missing"
				 " FROM jsonb_populate_recordset(NULL::etl.consumed, $1)", &params);
}

void
etl_node_served_as(const char *target, int version)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_int4(&params, version);
	etl_sql_exec("UPDATE etl.node_state SET built_version = $2 WHERE target = $1", &params);
}

void
etl_node_must_rebuild(const char *target, const char *reason)
{
	EtlParams	params = {0};

	etl_param_text(&params, target);
	etl_param_text(&params, reason);
	etl_sql_exec("UPDATE etl.node_state SET rebuild = $2 WHERE target = $1", &params);
}

int
etl_definition_restore(const char *kind_name, const char *target, const Jsonb *definition,
					   const char *change)
{
	const EtlDefinitionKind *kind = etl_definition_kind(kind_name);
	EtlParams	params = {0};
	EtlRows    *rows;
	Jsonb	   *row;

	etl_param_text(&params, target);
	etl_param_jsonb(&params, definition);
	rows = etl_sql_query(psprintf("SELECT to_jsonb(t) || $2 || jsonb_build_object('version', t.version + 1,"
								  " 'defined_at', clock_timestamp()) AS def"
								  " FROM etl.%s AS t WHERE %s = $1", kind->table, kind->key),
						 &params);
	row = etl_row_jsonb(rows, 0, "def");
	params.n = 1;
	etl_sql_exec(psprintf("DELETE FROM etl.%s WHERE %s = $1", kind->table, kind->key), &params);
	params.n = 0;
	etl_param_jsonb(&params, row);
	rows = etl_sql_query(psprintf("INSERT INTO etl.%s SELECT * FROM jsonb_populate_record(NULL::etl.%s, $1)"
								  " RETURNING version", kind->table, kind->table),
						 &params);
	etl_version_change = change;
	PG_TRY();
	{
		(void) etl_defined(kind_name, target, NULL, "updated");
	}
	PG_FINALLY();
	{
		etl_version_change = NULL;
	}
	PG_END_TRY();
	return etl_row_int4(rows, 0, "version");
}
