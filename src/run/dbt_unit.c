/*-------------------------------------------------------------------------
 *
 * dbt_unit.c
 *    Unit tests of a dbt manifest.
 *
 * Rows are rows in both.  What a test changes about the compilation, such as
 * variables, cannot be had: the query is compiled.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "common/driver.h"
#include "common/json.h"
#include "common/run_as.h"
#include "run/dbt.h"

typedef struct Rows
{
	const char *sql;
	char	   *json;
	MemoryContext context;
} Rows;

/*
 * select_rows turns rows that a query gives into JSON, changing nothing; an
 * argument of etl_subxact.
 */
static void
select_rows(void *arg)
{
	Rows	   *rows = arg;
	char	   *json = NULL;
	EtlRunAs	as;

	etl_run_as_begin(&as, GetUserNameFromId(GetUserId(), false), NULL);
	SPI_connect();
	if (SPI_execute(psprintf("SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(q)), '[]')"
							 " FROM (%s) AS q", rows->sql),
					true, 1) == SPI_OK_SELECT)
		json = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (json != NULL)
		rows->json = MemoryContextStrdup(rows->context, json);
	SPI_finish();
	etl_run_as_end(&as);
}

/*
 * rows_of reads the rows of a given or expected part; NULL: it has none.
 */
static Jsonb *
rows_of(const Jsonb *part)
{
	Rows		rows = {NULL, NULL, CurrentMemoryContext};

	switch (etl_json_kind_of(part, "rows"))
	{
		case 'a':
			return etl_json_get(part, "rows");
		case 's':
			if (!etl_dbt_is(part, "format", "sql"))
				return NULL;
			rows.sql = etl_dbt_query(etl_json_get_text(part, "rows"));
			if (etl_subxact(select_rows, &rows) != NULL || rows.json == NULL)
				return NULL;
			return etl_json_parse(rows.json);
		default:
			return NULL;
	}
}

/*
 * quoted returns the texts between quotes of an input such as
 * source('raw', 'orders').
 */
static List *
quoted(const char *text)
{
	List	   *result = NIL;
	const char *end;

	for (; *text; text++)
	{
		if (*text != '\'' && *text != '"')
			continue;
		end = strchr(text + 1, *text);
		if (end == NULL)
			break;
		result = lappend(result, pnstrdup(text + 1, end - text - 1));
		text = end;
	}
	return result;
}

/*
 * input_of finds what an input of a test means; NULL: nothing.
 */
static Jsonb *
input_of(const EtlDbt *dbt, const char *input)
{
	List	   *words = quoted(input);
	bool		source = strncmp(input, "source", 6) == 0;
	const Jsonb *entries = source ? dbt->sources : dbt->nodes;
	ListCell   *cell;

	foreach(cell, words != NIL && entries != NULL ? etl_json_keys(entries) : NIL)
	{
		Jsonb	   *node = etl_json_get(entries, lfirst(cell));

		if (etl_dbt_is(node, "name", llast(words)) && !etl_dbt_is(node, "resource_type", "test") &&
			!etl_dbt_is(node, "resource_type", "analysis") &&
			(!source || etl_dbt_is(node, "source_name", linitial(words))) &&
			(source || list_length(words) == 1 || etl_dbt_is(node, "package_name", linitial(words))))
			return node;
	}
	return NULL;
}

/*
 * why_not says what keeps a test from being one here; NULL: nothing does.
 */
static char *
why_not(const EtlDbtItem *item)
{
	Jsonb	   *overrides = etl_json_get(item->node, "overrides");
	Jsonb	   *macros = overrides ? etl_json_get(overrides, "macros") : NULL;
	Jsonb	   *expect = etl_json_get(item->node, "expect");
	static const char *const words[] = {"vars", "env_vars"};
	ListCell   *cell;

	if (expect == NULL || rows_of(expect) == NULL)
		return "the rows that it expects are not in the manifest";
	for (int i = 0; overrides != NULL && i < lengthof(words); i++)
		if (etl_json_kind_of(overrides, words[i]) == 'o' &&
			etl_json_keys(etl_json_get(overrides, words[i])) != NIL)
			return psprintf("it overrides %s, and the query is compiled", words[i]);
	foreach(cell, macros ? etl_json_keys(macros) : NIL)
	{
		if (strcmp(lfirst(cell), "is_incremental") != 0)
			return psprintf("it overrides macro %s, and the query is compiled", (char *) lfirst(cell));
		if (etl_json_get_bool(macros, "is_incremental", false))
			return "it tests the query of an increment, which the engine makes: test the rows "
				   "after two runs instead";
	}
	return NULL;
}

/*
 * given_of collects the given rows by relation; NULL, with *why, when they
 * cannot be given here.
 */
static Jsonb *
given_of(const EtlDbtItem *item, char **why)
{
	EtlJsonBuilder *given = etl_json_object_begin();
	ListCell   *cell;

	foreach(cell, etl_json_get_list(item->node, "given"))
	{
		Jsonb	   *part = etl_json_parse(lfirst(cell));
		char	   *input = etl_json_get_text(part, "input");
		Jsonb	   *node = input ? input_of(item->dbt, input) : NULL;
		Jsonb	   *rows = rows_of(part);

		if (node == NULL)
			*why = psprintf("its input %s is not in the manifest", input ? input : "");
		else if (etl_dbt_is(etl_json_get(node, "config"), "materialized", "ephemeral"))
			*why = psprintf("its input %s is contained in the query", input);
		else if (rows == NULL)
			*why = psprintf("the rows of its input %s are not in the manifest", input);
		if (*why != NULL)
			return NULL;
		etl_json_add(given, etl_dbt_relation(node), rows);
	}
	return etl_json_object_end(given);
}

void
etl_dbt_unit_test(EtlDbtItem *item)
{
	List	   *parents = etl_dbt_parents(item->node);
	Jsonb	   *node = parents != NIL ? etl_dbt_find(item->dbt, linitial(parents)) : NULL;
	char	   *why = why_not(item);
	Jsonb	   *given;
	char	   *description = etl_json_get_text(item->node, "description");

	item->part = etl_json_get_text(item->node, "name");
	item->target = node ? etl_dbt_relation(node) : NULL;
	if (node == NULL)
		why = "its model is not in the manifest";
	given = why == NULL ? given_of(item, &why) : NULL;
	if (why != NULL)
	{
		etl_dbt_put(item, "skipped", why);
		return;
	}
	etl_dbt_define(item,
				   psprintf("SELECT etl.define_unit_test(%s, %s, %s::pg_catalog.jsonb, %s::pg_catalog.jsonb,"
							" description => %s)",
							quote_literal_cstr(item->target), quote_literal_cstr(item->part),
							quote_literal_cstr(etl_json_text(given)),
							quote_literal_cstr(etl_json_text(rows_of(etl_json_get(item->node, "expect")))),
							description && *description ? quote_literal_cstr(description) : "NULL"),
				   NULL);
}
