/*-------------------------------------------------------------------------
 *
 * parse.c
 *    SQL of users to raw parse trees, with errors that show their text.
 *
 * A definition is text inside a statement: without care, the position of a
 * mistake in it would be shown in the statement that defines.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "access/sysattr.h"
#include "catalog/heap.h"

#include "common/parse.h"

/*
 * place_in_text moves the position of an error from the statement to the text.
 */
static void
place_in_text(void *arg)
{
	EtlQueryText *query = arg;
	int			position = geterrposition();

	if (position <= 0 || getinternalerrposition() > 0)
		return;
	errposition(0);
	internalerrposition(position);
	internalerrquery(query->text);
}

void
etl_query_text_begin(EtlQueryText *query, const char *text)
{
	query->text = text;
	query->callback.callback = place_in_text;
	query->callback.arg = query;
	query->callback.previous = error_context_stack;
	error_context_stack = &query->callback;
}

void
etl_query_text_end(EtlQueryText *query)
{
	error_context_stack = query->callback.previous;
}

List *
etl_parse(const char *text)
{
	EtlQueryText query;
	List	   *statements;

	etl_query_text_begin(&query, text);
	statements = raw_parser(text, RAW_PARSE_DEFAULT);
	etl_query_text_end(&query);
	return statements;
}

/*
 * etl_condition_query: see parse.h.
 */
char *
etl_condition_query(const char *condition)
{
	const char *begin = condition;

	while (isspace((unsigned char) *begin))
		begin++;
	if (pg_strncasecmp(begin, "select", 6) == 0 || pg_strncasecmp(begin, "with", 4) == 0)
		return pstrdup(condition);
	/* the line break ends a comment at the end of it */
	return psprintf("SELECT (%s\n)", condition);
}

const char *
etl_name_twice(List *names)
{
	ListCell   *cell;
	ListCell   *later;

	foreach(cell, names)
		for_each_cell(later, names, lnext(names, cell)) if (strcmp(lfirst(cell), lfirst(later)) ==
															0) return lfirst(cell);
	return NULL;
}

bool
etl_name_among(List *names, const char *name)
{
	ListCell   *cell;

	foreach(cell, names)
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	return false;
}

bool
etl_name_is_system_column(const char *name)
{
	return SystemAttributeByName(name) != NULL;
}
