/*-------------------------------------------------------------------------
 *
 * given.c
 *    What a definition gives its relation beside rows and constraints:
 *    comments, privileges; and the settings that it is built with.
 *
 * Declared means kept: what the definition does not name any more goes again,
 * as far as it was given by it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/options.h"
#include "common/parse.h"
#include "model/internal.h"

/*
 * refuse raises ET001 for the value of an option.
 */
static void
refuse(const char *option, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION), errmsg("invalid value for option \"%s\"", option),
			 errdetail("%s", detail), errhint("%s", hint)));
}

/* ---- constraints ---- */

/*
 * check_constraints judges option "constraints"; an argument of
 * etl_option_judge.
 */
static void
check_constraints(void *model)
{
	ListCell   *cell;

	foreach(cell, etl_json_get_list(((EtlModel *) model)->options, "constraints"))
	{
		Constraint *constraint = etl_constraint_parse(lfirst(cell));

		if (constraint == NULL)
			refuse("constraints", psprintf("\"%s\" is not one constraint.", (char *) lfirst(cell)),
				   "Write each as in CREATE TABLE, such as \"CHECK (amount >= 0)\".");
		if (constraint->conname != NULL || constraint->deferrable)
			refuse("constraints", psprintf("\"%s\" has a name, or is deferrable.", (char *) lfirst(cell)),
				   "Leave that out: etl names constraints, and they hold at every moment.");
	}
}

/* ---- comments ---- */

/*
 * give_comments sets the comments of columns and of the relation.
 */
static void
give_comments(const EtlModel *model, Oid relid)
{
	Jsonb	   *comments = etl_json_get(model->options, "comments");
	ListCell   *cell;

	etl_table_comment(model, etl_kind_word(get_rel_relkind(relid)));
	foreach(cell, comments ? etl_json_keys(comments) : NIL)
	{
		char	   *text = etl_json_get_text(comments, lfirst(cell));

		etl_execute_utility(psprintf("COMMENT ON COLUMN %s.%s IS %s", etl_quoted_relation(relid),
									 quote_identifier(lfirst(cell)),
									 text ? quote_literal_cstr(text) : "NULL"));
	}
}

/* ---- privileges ---- */

/*
 * role_sql writes a role as GRANT takes it.
 */
static char *
role_sql(const char *role)
{
	return pg_strcasecmp(role, "public") == 0 ? "PUBLIC" : pstrdup(quote_identifier(role));
}

/*
 * privileges_of joins the privileges that a role is given: a word or a list.
 */
static char *
privileges_of(Jsonb *grants, const char *role)
{
	StringInfoData text;
	ListCell   *cell;

	if (etl_json_kind_of(grants, role) != 'a')
		return etl_json_get_text(grants, role);
	initStringInfo(&text);
	foreach(cell, etl_json_get_list(grants, role))
		appendStringInfo(&text, "%s%s", text.len ? ", " : "", (char *) lfirst(cell));
	return text.data;
}

/*
 * check_privileges raises ET001 for what is no privilege on a table.
 */
static void
check_privileges(List *privileges)
{
	List	   *known = list_make5("select", "insert", "update", "delete", "truncate");
	const char *nearest;
	ListCell   *cell;

	known = lappend(lappend(known, "references"), "trigger");
#ifdef ACL_MAINTAIN
	known = lappend(known, "maintain");
#endif
	foreach(cell, privileges)
	{
		char	   *name = lfirst_node(AccessPriv, cell)->priv_name;

		if (name == NULL || etl_name_among(known, name))
			continue;
		nearest = etl_nearest(name, known);
		refuse("grants", psprintf("\"%s\" is no privilege on a table.", name),
			   nearest ? psprintf("Did you mean \"%s\"?", nearest) : "Write {\"analyst\": \"SELECT\"}.");
	}
}

/*
 * check_role raises ET001 for a role that is not there.
 */
static void
check_role(const char *role)
{
	char	   *name = role_sql(role);

	if (strcmp(name, "PUBLIC") != 0 && !OidIsValid(get_role_oid(role, true)))
		refuse("grants", psprintf("Role \"%s\" does not exist.", role),
			   psprintf("CREATE ROLE %s; or correct the name: it is written as pg_roles has it.", name));
}

/*
 * check_grants judges option "grants"; an argument of etl_option_judge.
 */
static void
check_grants(void *model)
{
	Jsonb	   *grants = etl_json_get(((EtlModel *) model)->options, "grants");
	ListCell   *cell;

	foreach(cell, grants ? etl_json_keys(grants) : NIL)
	{
		char	   *privileges = privileges_of(grants, lfirst(cell));
		List	   *statements;

		if (privileges == NULL ||
			strspn(privileges, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ, ") !=
				strlen(privileges) ||
			*privileges == '\0')
			refuse(
				"grants",
				psprintf("What \"%s\" is given is no list of privileges.", (char *) lfirst(cell)),
				"Write {\"analyst\": \"SELECT\"} or {\"analyst\": [\"SELECT\", \"REFERENCES\"]}.");
		statements = etl_parse(psprintf("GRANT %s ON t TO %s", privileges, role_sql(lfirst(cell))));
		if (list_length(statements) != 1)
			refuse("grants", "It is not one GRANT a role.", "Write {\"analyst\": \"SELECT\"}.");
		check_privileges(((GrantStmt *) linitial_node(RawStmt, statements)->stmt)->privileges);
		check_role(lfirst(cell));
	}
}

/*
 * give_grants makes the privileges of others on the relation exactly the
 * declared ones.
 */
static void
give_grants(const EtlModel *model, Oid relid)
{
	Jsonb	   *grants = etl_json_get(model->options, "grants");
	char	   *table = etl_quoted_relation(relid);
	HeapTuple	tuple;
	Datum		datum;
	bool		isnull;
	List	   *others = NIL;
	ListCell   *cell;

	if (grants == NULL)
		return;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	datum = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relacl, &isnull);
	if (!isnull)
	{
		Acl		   *acl = DatumGetAclPCopy(datum);

		for (int i = 0; i < ACL_NUM(acl); i++)
		{
			Oid			grantee = ACL_DAT(acl)[i].ai_grantee;

			if (grantee != ((Form_pg_class) GETSTRUCT(tuple))->relowner)
				others = lappend(others,
								 grantee == ACL_ID_PUBLIC ?
									 "PUBLIC" :
									 pstrdup(quote_identifier(GetUserNameFromId(grantee, false))));
		}
	}
	ReleaseSysCache(tuple);
	foreach(cell, others)
		etl_execute_utility(psprintf("REVOKE ALL ON %s FROM %s", table, (char *) lfirst(cell)));
	foreach(cell, etl_json_keys(grants))
		etl_execute_utility(psprintf("GRANT %s ON %s TO %s", privileges_of(grants, lfirst(cell)), table,
									 role_sql(lfirst(cell))));
	CommandCounterIncrement();
}

/* ---- settings ---- */

/*
 * check_setting raises an error for a setting that a definition cannot have.
 */
static void
check_setting(const char *name, const char *value)
{
	static const char *const others[][2] = {
		{"statement_timeout", "Use option statement_timeout."},
		{"search_path", "The search path is that of the session that defines the model."},
		{"role", "A model is built as its owner."},
		{"session_authorization", "A model is built as its owner."},
		{NULL, NULL}};

	for (int i = 0; others[i][0]; i++)
		if (pg_strcasecmp(name, others[i][0]) == 0)
			refuse("settings", psprintf("Setting \"%s\" cannot be set there.", name), others[i][1]);
	if (pg_strncasecmp(name, "etl.", 4) == 0 || pg_strncasecmp(name, "transaction_", 12) == 0 ||
		value == NULL)
		refuse("settings", psprintf("Setting \"%s\" cannot be set there.", name),
			   "Name settings that any user can change, such as {\"work_mem\": \"256MB\"}.");
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * check_settings judges option "settings"; an argument of etl_option_judge.
 */
static void
check_settings(void *model)
{
	Jsonb	   *settings = etl_json_get(((EtlModel *) model)->options, "settings");
	int			level = NewGUCNestLevel();
	ListCell   *cell;

	foreach(cell, settings ? etl_json_keys(settings) : NIL)
		check_setting(lfirst(cell), etl_json_get_text(settings, lfirst(cell)));
	AtEOXact_GUC(false, level);
}

/*
 * etl_given_settings adds option "settings" to the settings that a definition
 * stores; etl_run_as_begin sets them.
 */
Jsonb *
etl_given_settings(const EtlModel *model, const Jsonb *captured)
{
	Jsonb	   *settings = etl_json_get(model->options, "settings");
	EtlJsonBuilder *builder = etl_json_object_begin();
	ListCell   *cell;

	foreach(cell, etl_json_keys(captured))
		etl_json_add_text(builder, lfirst(cell), etl_json_get_text(captured, lfirst(cell)));
	if (settings != NULL)
		etl_json_add(builder, "settings", settings);
	return etl_json_object_end(builder);
}

/* ---- entry points ---- */

/*
 * etl_given_check judges the options at definition.
 */
void
etl_given_check(const EtlModel *model)
{
	EtlModel   *given = unconstify(EtlModel *, model);
	bool		table = !etl_model_is_view(model) && !etl_model_is_matview(model);

	if (!table && (etl_json_has(model->options, "constraints") || etl_json_has(model->options, "not_null")))
		refuse("constraints", "A view has no constraints.",
			   "Define the model as table or incremental, or define checks.");
	etl_option_judge("constraints", "model", check_constraints, given);
	etl_option_judge("grants", "model", check_grants, given);
	etl_option_judge("settings", "model", check_settings, given);
}

/*
 * etl_given_check_columns judges the columns that the options name.
 */
void
etl_given_check_columns(const EtlModel *model, List *columns)
{
	Jsonb	   *comments = etl_json_get(model->options, "comments");
	List	   *names = comments ? etl_json_keys(comments) : NIL;
	ListCell   *cell;

	foreach(cell, list_concat(names, etl_json_get_list(model->options, "not_null")))
	{
		const char *nearest = etl_nearest(lfirst(cell), columns);

		if (!etl_name_among(columns, lfirst(cell)))
			ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
							errmsg("an option names column \"%s\", which the query does not have",
								   (char *) lfirst(cell)),
							nearest ? errhint("Did you mean \"%s\"?", nearest) : 0));
	}
}

/*
 * etl_given_words gives a relation its comments and privileges; inside
 * etl_run_as.
 */
void
etl_given_words(const EtlModel *model, Oid relid)
{
	give_comments(model, relid);
	give_grants(model, relid);
}
