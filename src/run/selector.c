/*-------------------------------------------------------------------------
 *
 * selector.c
 *    The grammar by which runs, plans and checks pick nodes.
 *
 * It is dbt's, so that what a team has learnt holds here:
 *
 *   selector  := term { space term }          union
 *   term      := criterion { ',' criterion }  intersection
 *   criterion := ['@'] [[n] '+'] value ['+' [n]]
 *   value     := name | pattern with * ? [] | method ':' argument
 *
 * A double-quoted part of a name is taken as it stands.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fnmatch.h>

#include "common/errors.h"
#include "common/options.h"
#include "run/run.h"

typedef struct Criterion
{
	const char *text;			/* as written, for messages */
	bool		whole_family;	/* '@': descendants and all their ancestors */
	bool		up;
	int			up_depth;		/* -1: any */
	bool		down;
	int			down_depth;
	char	   *method;			/* NULL: by name */
	char	   *value;
} Criterion;

/*
 * split cuts a text at characters of 'separators' that are outside double
 * quotes; empty pieces are left out when 'skip_empty'.
 */
static List *
split(const char *text, const char *separators, bool skip_empty)
{
	List	   *pieces = NIL;
	const char *start = text;
	bool		quoted = false;

	for (const char *p = text;; p++)
	{
		if (*p == '"')
			quoted = !quoted;
		if (*p != '\0' && (quoted || strchr(separators, *p) == NULL))
			continue;
		if (p > start || !skip_empty)
			pieces = lappend(pieces, pnstrdup(start, p - start));
		if (*p == '\0')
			return pieces;
		start = p + 1;
	}
}

/*
 * raise_syntax reports a criterion that is none.
 */
static void
raise_syntax(const char *text, const char *why)
{
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("\"%s\" is not a selector: %s", text, why),
			 errdetail("A selector is made of names with *, +node, node+, 2+node+1, @node, tag:x, "
					   "source:x, kind:model and state:modified; a space is union, a comma intersection.")));
}

/*
 * parse_depth reads digits up to 'end'; none means any depth.
 */
static int
parse_depth(const char *text, const char *start, const char *end)
{
	int			depth = 0;

	if (start == end)
		return -1;
	for (const char *p = start; p < end; p++)
	{
		if (*p < '0' || *p > '9')
			raise_syntax(text, "a depth is a number");
		depth = Min(depth * 10 + (*p - '0'), 1000000);
	}
	return depth;
}

/*
 * find_colon returns the colon after a method name, or NULL.
 */
static const char *
find_colon(const char *value)
{
	const char *p = value;

	while ((*p >= 'a' && *p <= 'z') || *p == '_')
		p++;
	return p > value && *p == ':' ? p : NULL;
}

/*
 * parse_criterion takes a criterion apart.
 */
static Criterion *
parse_criterion(const char *text)
{
	Criterion  *criterion = palloc0(sizeof(Criterion));
	const char *start = text;
	const char *end = text + strlen(text);
	const char *p;

	criterion->text = text;
	if (*start == '@')
	{
		criterion->whole_family = true;
		start++;
	}
	for (p = start; *p >= '0' && *p <= '9'; p++)
		;
	if (*p == '+')
	{
		criterion->up = true;
		criterion->up_depth = parse_depth(text, start, p);
		start = p + 1;
	}
	for (p = end; p > start && p[-1] >= '0' && p[-1] <= '9'; p--)
		;
	if (p > start && p[-1] == '+')
	{
		criterion->down = true;
		criterion->down_depth = parse_depth(text, p, end);
		end = p - 1;
	}
	if (criterion->whole_family && criterion->down)
		raise_syntax(text, "@ already takes what depends on the node");
	if (start >= end)
		raise_syntax(text, "it names nothing");

	criterion->value = pnstrdup(start, end - start);
	p = find_colon(criterion->value);
	if (p != NULL)
	{
		criterion->method = pnstrdup(criterion->value, p - criterion->value);
		criterion->value = pstrdup(p + 1);
		if (*criterion->value == '\0')
			raise_syntax(text, "nothing follows the colon");
	}
	return criterion;
}

/*
 * match_pattern tells whether a name with * ? [] means the node.
 */
static bool
match_pattern(const char *pattern, EtlNode *node)
{
	if (fnmatch(pattern, node->name->canonical, 0) == 0 ||
		(node->stands_for && fnmatch(pattern, node->stands_for->canonical, 0) == 0))
		return true;
	return strchr(pattern, '.') == NULL && fnmatch(pattern, node->name->relation, 0) == 0;
}

/*
 * select_name picks by name: a pattern, schema.relation, or a relation of
 * any schema.
 */
static Bitmapset *
select_name(EtlGraph *graph, const char *value)
{
	Bitmapset  *found = NULL;
	bool		pattern = list_length(split(value, "*?[", false)) > 1;
	bool		bare = list_length(split(value, ".", false)) == 1;
	EtlName    *name = pattern ? NULL : etl_name_parse(value);

	for (int i = 0; i < graph->n; i++)
	{
		EtlNode    *node = graph->nodes[i];
		bool		match;

		if (pattern)
			match = match_pattern(value, node);
		else if (bare)
			match = strcmp(node->name->relation, name->relation) == 0;
		else
			match = strcmp(node->name->canonical, name->canonical) == 0 ||
					(node->stands_for && strcmp(node->stands_for->canonical, name->canonical) == 0);
		if (match)
			found = bms_add_member(found, i);
	}

	if (found == NULL && !pattern)
	{
		const char *nearest = etl_nearest(bare ? value : name->canonical, etl_graph_names(graph));

		ereport(ERROR,
				(errcode(ETL_ERR_UNDEFINED),
				 errmsg("there is no stream or model \"%s\"", bare ? value : name->canonical),
				 nearest ? errhint("Did you mean \"%s\"?", nearest) :
						   errhint("SELECT node FROM etl.plan() lists what there is.")));
	}
	return found;
}

/* ---- methods: one predicate each ---- */

static bool
by_tag(EtlNode *node, const char *value)
{
	ListCell   *cell;

	foreach(cell, node->tags)
		if (fnmatch(value, lfirst(cell), 0) == 0)
			return true;
	return false;
}

static bool
by_source(EtlNode *node, const char *value)
{
	return node->stream != NULL && fnmatch(value, node->stream->source, 0) == 0;
}

static bool
by_kind(EtlNode *node, const char *value)
{
	return strcmp(node->kind, value) == 0;
}

/* a stream is modified until something was landed by its present definition */
static bool
by_state(EtlNode *node, const char *value)
{
	if (strcmp(value, "new") == 0)
		return node->built_version == 0;
	return node->version > node->built_version;
}

static const char *const kinds[] = {"stream", "model", "export", NULL};
static const char *const states[] = {"modified", "new", NULL};

static const struct
{
	const char *name;
	bool		(*matches) (EtlNode *node, const char *value);
	const char *const *values;	/* NULL: any */
} methods[] = {
	{"kind", by_kind, kinds},
	{"source", by_source, NULL},
	{"state", by_state, states},
	{"tag", by_tag, NULL},
};

/*
 * select_method picks by a property.
 */
static Bitmapset *
select_method(EtlGraph *graph, const Criterion *criterion)
{
	List	   *names = NIL;

	for (int m = 0; m < lengthof(methods); m++)
	{
		Bitmapset  *found = NULL;
		const char *const *allowed = methods[m].values;

		names = lappend(names, unconstify(char *, methods[m].name));
		if (strcmp(methods[m].name, criterion->method) != 0)
			continue;
		while (allowed && *allowed && strcmp(*allowed, criterion->value) != 0)
			allowed++;
		if (allowed && *allowed == NULL)
			raise_syntax(criterion->text, criterion->method[0] == 'k' ?
											  "a kind is stream, model or export" :
											  "a state is modified or new");
		for (int i = 0; i < graph->n; i++)
			if (methods[m].matches(graph->nodes[i], criterion->value))
				found = bms_add_member(found, i);
		return found;
	}

	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("selector method \"%s\" does not exist", criterion->method),
			 errhint("Did you mean \"%s\"? The methods are tag, source, kind and state.",
					 etl_nearest(criterion->method, names) ? etl_nearest(criterion->method, names) : "tag")));
	return NULL;				/* keep compiler quiet */
}

/*
 * select_criterion picks the nodes of one criterion with their relatives.
 */
static Bitmapset *
select_criterion(EtlGraph *graph, const Criterion *criterion)
{
	Bitmapset  *base = criterion->method ? select_method(graph, criterion) :
										  select_name(graph, criterion->value);
	Bitmapset  *found = bms_copy(base);
	int			i = -1;

	while ((i = bms_next_member(base, i)) >= 0)
	{
		EtlNode    *node = graph->nodes[i];

		if (criterion->up)
			found = bms_add_members(found, etl_graph_walk(graph, node, true, criterion->up_depth));
		if (criterion->down)
			found = bms_add_members(found, etl_graph_walk(graph, node, false, criterion->down_depth));
		if (criterion->whole_family)
		{
			Bitmapset  *family = bms_add_member(etl_graph_walk(graph, node, false, -1), i);
			int			member = -1;

			while ((member = bms_next_member(family, member)) >= 0)
				found = bms_add_members(found, etl_graph_walk(graph, graph->nodes[member], true, -1));
			found = bms_add_members(found, family);
		}
	}
	return found;
}

/*
 * select_union evaluates a whole selector.
 */
static Bitmapset *
select_union(EtlGraph *graph, const char *selector)
{
	Bitmapset  *all = NULL;
	List	   *terms = split(selector, " \t\r\n", true);
	ListCell   *term;

	if (terms == NIL)
		raise_syntax(selector, "it is empty");
	foreach(term, terms)
	{
		Bitmapset  *found = NULL;
		bool		first = true;
		ListCell   *piece;

		foreach(piece, split(lfirst(term), ",", false))
		{
			Bitmapset  *here = select_criterion(graph, parse_criterion(lfirst(piece)));

			found = first ? here : bms_int_members(found, here);
			first = false;
		}
		if (bms_is_empty(found) && strcmp(lfirst(term), "*") != 0)
		{
			/* that nothing is modified is good news */
			ereport(strstr(lfirst(term), "state:") ? NOTICE : WARNING,
					(errmsg("\"%s\" selects no node", (char *) lfirst(term))));
		}
		all = bms_add_members(all, found);
	}
	return all;
}

/*
 * etl_select marks the nodes that 'selector' picks and 'exclude' does not,
 * and numbers their steps.
 */
void
etl_select(EtlGraph *graph, const char *selector, const char *exclude)
{
	Bitmapset  *found = select_union(graph, selector ? selector : "*");

	if (exclude != NULL)
		found = bms_del_members(found, select_union(graph, exclude));
	for (int i = 0; i < graph->n; i++)
		graph->nodes[i]->selected = bms_is_member(i, found);
	etl_graph_number_steps(graph);
}

List *
etl_select_names(const char *selector)
{
	EtlGraph   *graph = etl_graph_load();
	List	   *names = NIL;

	etl_select(graph, selector, NULL);
	for (int i = 0; i < graph->n; i++)
		if (graph->nodes[i]->selected)
			names = lappend(names, graph->nodes[i]->name->canonical);
	return names;
}
