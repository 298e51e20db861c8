/*-------------------------------------------------------------------------
 *
 * rename.c
 *    SQL function rename: another name for a node, and who follows it.
 *
 * The relation keeps its OID, its rows and all that is stored of it.  Texts
 * of models that read it are changed where the name stands; one that would
 * not be valid afterwards keeps its text, and is told.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "catalog/environment.h"
#include "catalog/rename.h"
#include "common/arguments.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/node_lock.h"
#include "common/run_as.h"
#include "model/model.h"
#include "run/run.h"

PG_FUNCTION_INFO_V1(etl_sql_rename);

typedef struct Rename
{
	char	   *old;			/* canonical, both */
	char	   *new;
	char	   *owner;
	ReturnSetInfo *result;
} Rename;

/* A model that reads the node, and its texts after the renaming. */
typedef struct Follower
{
	EtlModel   *model;
	char	   *query;
	Jsonb	   *options;
	char	   *change;
} Follower;

/*
 * put adds a row of the result.
 */
static void
put(Rename *work, const char *kind, const char *name, const char *part, const char *effect,
	const char *detail)
{
	const char *texts[5] = {kind, name, part, effect, detail};
	Datum		values[5];
	bool		nulls[5];

	for (int i = 0; i < 5; i++)
	{
		nulls[i] = texts[i] == NULL;
		values[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(texts[i]);
	}
	tuplestore_putvalues(work->result->setResult, work->result->setDesc, values, nulls);
}

/*
 * new_name answers what a relation is called now.
 */
static char *
new_name(const char *name, void *arg)
{
	Rename	   *work = arg;

	return strcmp(name, work->old) == 0 ? work->new : NULL;
}

/*
 * check_free raises ET001 when the new name is taken.
 */
static void
check_free(const Rename *work)
{
	if (strcmp(work->old, work->new) == 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("%s is called that already", work->old)));
	if (etl_node_owner(work->new) != NULL || OidIsValid(etl_name_relation(work->new)))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("%s cannot be renamed: %s is there already", work->old, work->new),
				 errhint("Choose another name, or drop what has it.")));
}

/*
 * find_followers computes the new texts while the old name still means the
 * relation.
 */
static List *
find_followers(Rename *work)
{
	List	   *followers = NIL;
	ListCell   *cell;

	foreach(cell, etl_model_readers(work->old))
	{
		Follower   *follower = palloc0(sizeof(Follower));

		follower->model = etl_model_get(lfirst(cell));
		follower->query = etl_query_rename(follower->model, new_name, work);
		follower->options = etl_options_rename(follower->model, new_name, work);
		follower->change = psprintf("follows %s to %s", work->old, work->new);
		followers = lappend(followers, follower);
	}
	return followers;
}

/*
 * follow gives a model its new text and analyzes it; an argument of
 * etl_subxact.
 */
static void
follow(void *arg)
{
	Follower   *follower = arg;
	bool		resolved = follower->model->resolved;

	etl_model_requery(follower->model, follower->query, follower->options, follower->change);
	CommandCounterIncrement();
	if (resolved && !etl_model_resolve(follower->model, NULL))
		elog(ERROR, "an input of it is missing");
}

/*
 * rename_relation moves and renames the relation, as its owner.
 */
static void
rename_relation(const Rename *work)
{
	EtlName    *old = etl_name_parse(work->old);
	EtlName    *new = etl_name_parse(work->new);
	Oid			relid = etl_name_relation(work->old);
	EtlRunAs	as;

	if (!OidIsValid(relid))
		return;
	etl_run_as_begin(&as, work->owner, NULL);
	etl_model_rename_relation(relid, strcmp(old->schema, new->schema) == 0 ? NULL : new->schema,
							  new->relation);
	etl_run_as_end(&as);
	CommandCounterIncrement();
}

/*
 * is_edge tells whether a character can stand beside a name in a selector.
 */
static bool
is_edge(char c)
{
	return c == '\0' || strchr(" \t\r\n,+@", c) != NULL;
}

/*
 * replace_name replaces a name in a selector, or after a key in JSON.
 */
static char *
replace_name(const char *text, const char *old, const char *new, bool selector)
{
	StringInfoData out;
	size_t		length = strlen(old);
	const char *p = text;

	initStringInfo(&out);
	while (*p)
	{
		if (strncmp(p, old, length) == 0 &&
			(!selector || ((p == text || is_edge(p[-1])) && is_edge(p[length]))))
		{
			appendStringInfoString(&out, new);
			p += length;
		}
		else
			appendStringInfoChar(&out, *p++);
	}
	return out.data;
}

/*
 * change_mention gives a selector, event or check the new name; returns
 * whether it had the old one.
 */
static bool
change_mention(const Rename *work, EtlMention *mention)
{
	static const char *const keys[] = {"file", "published", "to"};
	bool		selector = strcmp(mention->kind, "event") != 0 && strcmp(mention->kind, "check") != 0;
	char	   *text = mention->text;

	if (selector)
		text = replace_name(text, work->old, work->new, true);
	else
		for (int i = 0; i < lengthof(keys); i++)
			text = replace_name(text, psprintf("\"%s\": %s", keys[i], etl_json_quote(work->old)),
								psprintf("\"%s\": %s", keys[i], etl_json_quote(work->new)), false);
	if (strcmp(text, mention->text) == 0)
		return false;
	etl_mention_set(mention, text);
	mention->text = text;
	return true;
}

/*
 * may_mean tells whether a selector can pick a node by a pattern or by its
 * name without the schema.
 */
static bool
may_mean(const EtlMention *mention, const Rename *work)
{
	const char *relation = etl_name_parse(work->old)->relation;
	const char *schema = psprintf("%s.", etl_name_parse(work->old)->schema);

	return strcmp(replace_name(mention->text, quote_identifier(relation), "", true), mention->text) != 0 ||
		   (strchr(mention->text, '*') && strstr(mention->text, schema) &&
			strncmp(work->new, schema, strlen(schema)) != 0);
}

/*
 * rename_mentions goes through what names nodes besides models.
 */
static void
rename_mentions(Rename *work)
{
	ListCell   *cell;

	foreach(cell, etl_mentions())
	{
		EtlMention *mention = lfirst(cell);
		const char *kind = strcmp(mention->kind, "event") == 0 ? "schedule" : mention->kind;

		if (change_mention(work, mention))
			put(work, kind, mention->name, mention->part, "follows", mention->text);
		else if (strcmp(mention->kind, "event") != 0 && strcmp(mention->kind, "check") != 0 &&
				 may_mean(mention, work))
			put(work, kind, mention->name, mention->part, "breaks",
				psprintf("its selector \"%s\" may pick other nodes than before", mention->text));
	}
}

/*
 * etl_sql_rename: see the comment of etl.rename.
 */
Datum
etl_sql_rename(PG_FUNCTION_ARGS)
{
	Rename		work = {0};
	List	   *followers;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	etl_environment_must_be_off("nothing is renamed");
	work.result = (ReturnSetInfo *) fcinfo->resultinfo;
	work.old = etl_name_canonical(etl_arg_required(fcinfo, 0, "old_name"));
	work.new = etl_name_of_target(etl_arg_required(fcinfo, 1, "new_name"));
	etl_node_must_exist(work.old);
	work.owner = etl_node_owner(work.old);
	etl_check_owner(work.owner, "node", work.old);
	check_free(&work);
	/* in the order of names, as runs in a transaction take them */
	etl_lock_node(strcmp(work.old, work.new) < 0 ? work.old : work.new, false);
	etl_lock_node(strcmp(work.old, work.new) < 0 ? work.new : work.old, false);
	check_free(&work);

	PushActiveSnapshot(GetTransactionSnapshot());
	followers = find_followers(&work);
	rename_relation(&work);
	etl_node_rename(work.old, work.new);
	CommandCounterIncrement();
	put(&work, etl_stream_find(work.new) ? "stream" : "model", work.new, NULL, "renamed",
		psprintf("was %s", work.old));
	foreach(cell, followers)
	{
		Follower   *follower = lfirst(cell);
		ErrorData  *error = etl_subxact(follow, follower);

		put(&work, "model", follower->model->target, NULL, error ? "breaks" : "follows",
			error ? error->message : follower->query);
		if (error != NULL)
			ereport(WARNING,
					(errmsg("model %s does not follow: %s", follower->model->target, error->message),
					 errhint("Define it again, with %s in the place of %s.", work.new, work.old)));
	}
	foreach(cell, etl_unit_tests_follow(work.old, work.new))
		put(&work, "unit_test", ((EtlMention *) lfirst(cell))->name, ((EtlMention *) lfirst(cell))->part,
			"follows", psprintf("gives rows of %s", work.new));
	rename_mentions(&work);
	foreach(cell, etl_functions_naming(work.old))
		put(&work, "function", lfirst(cell), NULL, "breaks", "its text holds the old name");
	etl_log_store("info", 0, work.new, psprintf("renamed from %s", work.old), NULL);
	PopActiveSnapshot();
	return (Datum) 0;
}
