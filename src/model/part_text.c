/*-------------------------------------------------------------------------
 *
 * part_text.c
 *    The texts of views and functions, and what literals say.
 *
 * A text tells what a view or function computes, in names that mean the same
 * under any settings: comments, line breaks, costs and what PostgreSQL makes
 * of the oids below it are no part of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/proclang.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "catalog/change.h"
#include "model/internal.h"
#include "model/part_text.h"

/* ---- texts ---- */

/*
 * begin_text makes what is rendered independent of the settings in force.
 */
static int
begin_text(void)
{
	int			level = etl_change_text_begin();

	(void) set_config_option("timezone", "UTC", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("quote_all_identifiers", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	return level;
}

char *
etl_view_text(Relation view, Query *query)
{
	int			level = begin_text();
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < view->rd_att->natts; i++)
		appendStringInfo(&buf, "%s ", quote_identifier(NameStr(TupleDescAttr(view->rd_att, i)->attname)));
	appendStringInfoString(&buf, etl_query_deparse(query));
	AtEOXact_GUC(false, level);
	return buf.data;
}

/*
 * attribute_text renders a column of a catalog as text; "" for NULL.
 */
static char *
attribute_text(int cache, HeapTuple tuple, AttrNumber column, Oid type)
{
	bool		isnull;
	Datum		value = SysCacheGetAttr(cache, tuple, column, &isnull);
	Oid			output;
	bool		varlena;

	if (isnull)
		return "";
	getTypeOutputInfo(type, &output, &varlena);
	return OidOutputFunctionCall(output, value);
}

/*
 * append_aggregate renders what an aggregate is made of.
 */
static void
append_aggregate(StringInfo buf, Oid function)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(function));
	Form_pg_aggregate form;

	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	appendStringInfo(buf, "\n%c %s", form->aggkind, format_procedure_qualified(form->aggtransfn));
	if (OidIsValid(form->aggfinalfn))
		appendStringInfo(buf, " %s", format_procedure_qualified(form->aggfinalfn));
	appendStringInfo(buf, "\n%s",
					 attribute_text(AGGFNOID, tuple, Anum_pg_aggregate_agginitval, TEXTOID));
	ReleaseSysCache(tuple);
}

/*
 * append_body renders the body of a function.
 */
static void
append_body(StringInfo buf, HeapTuple tuple, List *queries)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	ListCell   *cell;
	bool		isnull;

	foreach(cell, queries)
		appendStringInfo(buf, "\n%s", etl_query_deparse(lfirst(cell)));
	if (queries != NIL)
		return;
	(void) SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosqlbody, &isnull);
	if (isnull)
		appendStringInfo(buf, "\n%s\n%s", attribute_text(PROCOID, tuple, Anum_pg_proc_prosrc, TEXTOID),
						 attribute_text(PROCOID, tuple, Anum_pg_proc_probin, TEXTOID));
	else
		appendStringInfo(buf, "\n%s",
						 TextDatumGetCString(DirectFunctionCall1(pg_get_function_sqlbody,
																 ObjectIdGetDatum(form->oid))));
}

char *
etl_function_text(Oid function, List *queries)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Datum		oid = ObjectIdGetDatum(function);
	Form_pg_proc form;
	StringInfoData buf;
	int			level;

	if (!HeapTupleIsValid(tuple))
		return "";
	form = (Form_pg_proc) GETSTRUCT(tuple);
	level = begin_text();
	initStringInfo(&buf);
	appendStringInfo(&buf, "%s %c%c%d%d (%s) %s\n%s", get_language_name(form->prolang, true),
					 form->prokind, form->provolatile, form->proisstrict, form->prosecdef,
					 TextDatumGetCString(DirectFunctionCall1(pg_get_function_arguments, oid)),
					 TextDatumGetCString(DirectFunctionCall1(pg_get_function_result, oid)),
					 attribute_text(PROCOID, tuple, Anum_pg_proc_proconfig, TEXTARRAYOID));
	if (form->prokind == PROKIND_AGGREGATE)
		append_aggregate(&buf, function);
	append_body(&buf, tuple, queries);
	AtEOXact_GUC(false, level);
	ReleaseSysCache(tuple);
	return buf.data;
}

char *
etl_function_source(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	char	   *source;

	if (!HeapTupleIsValid(tuple))
		return "";
	source = attribute_text(PROCOID, tuple, Anum_pg_proc_prosrc, TEXTOID);
	ReleaseSysCache(tuple);
	return source;
}

char *
etl_part_hash(const char *text)
{
	return psprintf(UINT64_FORMAT, hash_bytes_extended((const unsigned char *) text, strlen(text), 0));
}

uint64
etl_settings_hash(void)
{
	const char *zone = pg_get_timezone_name(session_timezone);
	int			styles[] = {DateStyle, DateOrder, IntervalStyle};
	uint64		hash = hash_bytes_extended((const unsigned char *) namespace_search_path,
									  strlen(namespace_search_path), 0);

	hash = hash_bytes_extended((const unsigned char *) zone, strlen(zone), hash);
	return hash_bytes_extended((const unsigned char *) styles, sizeof(styles), hash);
}

/* ---- literals ---- */

bool
etl_type_tells_time(Oid type)
{
	Oid			base = getBaseType(type);
	Oid			element = get_element_type(base);

	if (OidIsValid(element))
		return etl_type_tells_time(element);
	switch (base)
	{
		case DATEOID:
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return true;
		default:
			break;
	}
	switch (get_typtype(base))
	{
		case TYPTYPE_RANGE:
			return etl_type_tells_time(get_range_subtype(base));
		case TYPTYPE_MULTIRANGE:
			return etl_type_tells_time(get_multirange_range(base));
		default:
			return false;
	}
}

bool
etl_text_is_moment(const char *text)
{
	static const char *const words[] = {"now", "today", "tomorrow", "yesterday"};

	while (*text != '\0')
	{
		int			length = 0;

		while (isalpha((unsigned char) text[length]))
			length++;
		for (int i = 0; i < lengthof(words); i++)
			if (length == (int) strlen(words[i]) && pg_strncasecmp(text, words[i], length) == 0)
				return true;
		text += Max(length, 1);
	}
	return false;
}

/*
 * text_of_literal returns what stands between the quotes of a literal; NULL
 * when there is none.
 */
static char *
text_of_literal(const char *at)
{
	const char *end;

	if (*at != '\0' && strchr("eEnN", *at) != NULL)
		at++;
	else if ((*at == 'u' || *at == 'U') && at[1] == '&')
		at += 2;
	if (*at == '\'')
	{
		for (end = ++at; *end != '\0' && *end != '\''; end++)
			;
		return pnstrdup(at, end - at);
	}
	if (*at == '$' && (end = strchr(at + 1, '$')) != NULL)
	{
		char	   *tag = pnstrdup(at, end + 1 - at);

		at = end + 1;
		end = strstr(at, tag);
		return end ? pnstrdup(at, end - at) : NULL;
	}
	return NULL;
}

bool
etl_literal_is_moment(const char *source, int location)
{
	char	   *text = location < (int) strlen(source) ? text_of_literal(source + location) : NULL;

	return text != NULL && etl_text_is_moment(text);
}
