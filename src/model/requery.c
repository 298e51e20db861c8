/*-------------------------------------------------------------------------
 *
 * requery.c
 *    The text of a query with other names for some relations.
 *
 * Names are found in the raw parse tree and replaced where they stand, so
 * that everything else, comments and layout too, stays as it was written.
 * A relation that gets another name without its schema keeps its old one as
 * an alias, since columns may be qualified by it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "common/json.h"
#include "common/names.h"
#include "common/run_as.h"
#include "model/internal.h"

/* A piece of the text and what takes its place. */
typedef struct Edit
{
	int			start;
	int			end;
	char	   *text;
} Edit;

typedef struct EditContext
{
	const char *query;
	EtlNewName	new_name;
	void	   *arg;
	List	   *ctes;			/* names of CTEs in scope */
	List	   *edits;			/* Edit * */
} EditContext;

static bool edit_walker(Node *node, EditContext *context);

/*
 * skip_blank passes white space and comments.
 */
static const char *
skip_blank(const char *p)
{
	for (;;)
	{
		if (isspace((unsigned char) *p))
			p++;
		else if (p[0] == '-' && p[1] == '-')
			while (*p && *p != '\n')
				p++;
		else if (p[0] == '/' && p[1] == '*')
		{
			int			depth = 0;

			do
			{
				if (p[0] == '/' && p[1] == '*')
					depth++, p += 2;
				else if (p[0] == '*' && p[1] == '/')
					depth--, p += 2;
				else
					p++;
			} while (*p && depth > 0);
		}
		else
			return p;
	}
}

/*
 * skip_identifier passes one identifier; NULL when there is none.
 */
static const char *
skip_identifier(const char *p)
{
	const char *start = p;

	if (*p == '"')
	{
		for (p++; *p; p++)
			if (*p == '"' && *++p != '"')
				return p;
		return NULL;
	}
	while (isalnum((unsigned char) *p) || *p == '_' || *p == '$' || IS_HIGHBIT_SET(*p))
		p++;
	return p > start ? p : NULL;
}

/*
 * skip_name passes 'parts' identifiers with points between them; NULL when
 * they are not there (U&"…" is not followed).
 */
static const char *
skip_name(const char *p, int parts)
{
	for (int i = 0; p && i < parts; i++)
	{
		if (i > 0)
		{
			p = skip_blank(p);
			if (*p != '.')
				return NULL;
			p = skip_blank(p + 1);
		}
		p = skip_identifier(p);
	}
	return p;
}

/*
 * add_edit notes a replacement.
 */
static void
add_edit(EditContext *context, const char *start, const char *end, char *text)
{
	Edit	   *edit = palloc(sizeof(Edit));

	edit->start = start - context->query;
	edit->end = end - context->query;
	edit->text = text;
	context->edits = lappend(context->edits, edit);
}

/*
 * etl_name_meant returns the canonical name of the relation that a name in a
 * query means.
 */
char *
etl_name_meant(const char *schema, const char *relation)
{
	RangeVar   *range = makeRangeVar(unconstify(char *, schema), unconstify(char *, relation), -1);
	Oid			relid = RangeVarGetRelid(range, NoLock, true);

	if (OidIsValid(relid))
		return etl_name_of_relation(relid);
	return etl_name_in_path(schema, relation);
}

/*
 * edit_relation replaces the name of a relation in FROM.
 */
static void
edit_relation(EditContext *context, RangeVar *range)
{
	const char *start = context->query + range->location;
	const char *end;
	char	   *old;
	char	   *new;
	ListCell   *cell;

	if (range->schemaname == NULL)
		foreach(cell, context->ctes)
			if (strcmp(lfirst(cell), range->relname) == 0)
				return;
	old = etl_name_meant(range->schemaname, range->relname);
	new = old ? context->new_name(old, context->arg) : NULL;
	if (new == NULL || range->location < 0)
		return;
	end = skip_name(start, 1 + (range->schemaname != NULL) + (range->catalogname != NULL));
	if (end == NULL)
		return;
	if (range->alias == NULL && strcmp(etl_name_parse(new)->relation, range->relname) != 0)
		new = psprintf("%s AS %s", new, quote_identifier(range->relname));
	add_edit(context, start, end, new);
}

/*
 * edit_row_type replaces the name of a relation whose row type a cast names.
 */
static void
edit_row_type(EditContext *context, TypeName *type_name)
{
	const char *start = context->query + type_name->location;
	const char *end;
	char	   *schema;
	char	   *relation;
	char	   *old;
	char	   *new;

	if (type_name->names == NIL || type_name->location < 0 || list_length(type_name->names) > 2)
		return;
	DeconstructQualifiedName(type_name->names, &schema, &relation);
	old = etl_name_meant(schema, relation);
	new = old ? context->new_name(old, context->arg) : NULL;
	end = new ? skip_name(start, list_length(type_name->names)) : NULL;
	if (end != NULL)
		add_edit(context, start, end, new);
}

/*
 * edit_column replaces the name of a relation with its schema before a
 * column: with the new schema, or by the alias that the relation keeps.
 */
static void
edit_column(EditContext *context, ColumnRef *column)
{
	const char *start = context->query + column->location;
	const char *end;
	int			parts = list_length(column->fields) - 1;	/* before the column; the first of three is a database */
	char	   *relation;
	char	   *new;

	if ((parts != 2 && parts != 3) || column->location < 0 ||
		!IsA(list_nth(column->fields, parts - 1), String))
		return;
	relation = strVal(list_nth(column->fields, parts - 1));
	new = etl_name_meant(strVal(list_nth(column->fields, parts - 2)), relation);
	new = new ? context->new_name(new, context->arg) : NULL;
	end = new ? skip_name(start, parts) : NULL;
	if (end == NULL)
		return;
	if (strcmp(etl_name_parse(new)->relation, relation) == 0)
		add_edit(context, start, end, new);
	else
		add_edit(context, start, skip_blank(skip_blank(skip_name(start, parts - 1)) + 1), "");
}

/*
 * edit_walker finds the names below one raw node.
 */
static bool
edit_walker(Node *node, EditContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SelectStmt))
		return etl_names_walk_select((SelectStmt *) node, &context->ctes, edit_walker, context);
	if (IsA(node, RangeVar))
	{
		edit_relation(context, (RangeVar *) node);
		return false;
	}
	if (IsA(node, TypeCast))
		edit_row_type(context, ((TypeCast *) node)->typeName);
	if (IsA(node, ColumnRef))
	{
		edit_column(context, (ColumnRef *) node);
		return false;
	}
	return raw_expression_tree_walker(node, edit_walker, context);
}

/*
 * compare_edits orders edits by their place.
 */
static int
compare_edits(const ListCell *a, const ListCell *b)
{
	return ((Edit *) lfirst(a))->start - ((Edit *) lfirst(b))->start;
}

char *
etl_query_rename(const EtlModel *model, EtlNewName new_name, void *arg)
{
	EditContext context = {.query = model->query, .new_name = new_name, .arg = arg};
	StringInfoData text;
	int			at = 0;
	EtlRunAs	as;
	ListCell   *cell;

	etl_run_as_begin(&as, model->owner, model->settings);
	edit_walker(etl_query_parse(model->query)->stmt, &context);
	etl_run_as_end(&as);
	list_sort(context.edits, compare_edits);
	initStringInfo(&text);
	foreach(cell, context.edits)
	{
		Edit	   *edit = lfirst(cell);

		if (edit->start < at)
			continue;			/* the tree holds it twice */
		appendBinaryStringInfo(&text, model->query + at, edit->start - at);
		appendStringInfoString(&text, edit->text);
		at = edit->end;
	}
	appendStringInfoString(&text, model->query + at);
	return text.data;
}

Jsonb *
etl_options_rename(const EtlModel *model, EtlNewName new_name, void *arg)
{
	Jsonb	   *list = etl_json_get(model->options, "depends_on");
	StringInfoData text;
	EtlJsonBuilder *builder;
	bool		changed = false;
	ListCell   *cell;
	EtlRunAs	as;

	if (list == NULL)
		return model->options;
	initStringInfo(&text);
	etl_run_as_begin(&as, model->owner, model->settings);
	foreach(cell, etl_json_get_list(model->options, "depends_on"))
	{
		char	   *new = new_name(etl_name_canonical(lfirst(cell)), arg);

		changed |= new != NULL;
		appendStringInfo(&text, "%s%s", text.len ? ", " : "[",
						 etl_json_quote(new ? new : lfirst(cell)));
	}
	etl_run_as_end(&as);
	if (!changed)
		return model->options;
	appendStringInfoChar(&text, ']');
	builder = etl_json_object_begin();
	foreach(cell, etl_json_keys(model->options))
		etl_json_add(builder, lfirst(cell),
					 strcmp(lfirst(cell), "depends_on") == 0 ?
						 etl_json_parse(text.data) :
						 etl_json_get(model->options, lfirst(cell)));
	return etl_json_object_end(builder);
}
