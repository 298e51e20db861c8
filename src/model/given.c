/*-------------------------------------------------------------------------
 *
 * given.c
 *    What a definition gives its relation beside rows: constraints, comments,
 *    privileges; and the settings that it is built with.
 *
 * Declared means kept: what the definition does not name any more goes again,
 * as far as it was given by it.  Constraints that others made stay.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog/version.h"
#include "common/brief_lock.h"
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
 * etl_constraint_parse returns the one table constraint that a text is.
 */
Constraint *
etl_constraint_parse(const char *text)
{
	List	   *statements = etl_parse(psprintf("ALTER TABLE t ADD %s\n", text));
	AlterTableStmt *alter;
	AlterTableCmd *command;

	if (list_length(statements) != 1)
		return NULL;
	alter = (AlterTableStmt *) linitial_node(RawStmt, statements)->stmt;
	if (!IsA(alter, AlterTableStmt) || list_length(alter->cmds) != 1)
		return NULL;
	command = linitial_node(AlterTableCmd, alter->cmds);
	return command->subtype == AT_AddConstraint ? castNode(Constraint, command->def) : NULL;
}

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

/*
 * is_of_rows tells whether a constraint can be made on rows that nobody reads
 * yet, and then on the empty table that gets them: those over other tables
 * look at what is there.
 */
static bool
is_of_rows(const char *text)
{
	Constraint *constraint = etl_constraint_parse(text);

	return constraint != NULL && constraint->indexname == NULL &&
		   (constraint->contype == CONSTR_CHECK || constraint->contype == CONSTR_PRIMARY ||
			constraint->contype == CONSTR_UNIQUE);
}

/*
 * is_not_null tells whether a column of a table, which is not among 'lost',
 * takes no NULL.
 */
static bool
is_not_null(Oid relid, const char *name, List *lost)
{
	HeapTuple	tuple = SearchSysCacheAttName(relid, name);
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_attribute) GETSTRUCT(tuple))->attnotnull &&
			 !list_member_int(lost, ((Form_pg_attribute) GETSTRUCT(tuple))->attnum);
	ReleaseSysCache(tuple);
	return result;
}

/*
 * actions_for returns what ALTER TABLE must do to 'to' for the constraints
 * that are declared and that 'from' does not have, or loses with its columns
 * 'lost'; with 'of_rows' only for those.  Where it is the same table, what was
 * declared before is dropped.
 */
static char *
actions_for(const EtlModel *model, Oid from, List *lost, Oid to, bool of_rows)
{
	List	   *have = NIL;
	List	   *wanted = NIL;
	StringInfoData sql;
	ListCell   *cell;

	foreach(cell, etl_constraints_of(from, lost))
		if (etl_constraint_is_ours(lfirst(cell), 'c'))
			have = lappend(have, lfirst(cell));
	initStringInfo(&sql);
	foreach(cell, etl_json_get_list(model->options, "constraints"))
	{
		char	   *name = etl_constraint_name(from, 'c', lfirst(cell));

		wanted = lappend(wanted, name);
		if (!etl_name_among(have, name) && (!of_rows || is_of_rows(lfirst(cell))))
			appendStringInfo(&sql, "%s ADD CONSTRAINT %s %s", sql.len ? "," : "",
							 quote_identifier(etl_constraint_name(to, 'c', lfirst(cell))),
							 (char *) lfirst(cell));
	}
	foreach(cell, from == to ? have : NIL)
		if (!etl_name_among(wanted, lfirst(cell)))
			appendStringInfo(&sql, "%s DROP CONSTRAINT %s", sql.len ? "," : "",
							 quote_identifier(lfirst(cell)));
	foreach(cell, etl_json_get_list(model->options, "not_null"))
		if (!is_not_null(from, lfirst(cell), lost))
			appendStringInfo(&sql, "%s ALTER COLUMN %s SET NOT NULL", sql.len ? "," : "",
							 quote_identifier(lfirst(cell)));
	return sql.len > 0 ? sql.data : NULL;
}

/*
 * give_constraints makes what is declared and not there, and drops what was
 * declared before.
 */
static void
give_constraints(const EtlModel *model, Oid relid, bool of_rows)
{
	char	   *actions = actions_for(model, relid, NIL, relid, of_rows);

	if (actions == NULL)
		return;
	etl_lock_briefly(relid);
	etl_execute_utility(psprintf("ALTER TABLE %s%s", etl_quoted_relation(relid), actions));
	CommandCounterIncrement();
}

bool
etl_given_constraints_beside(const EtlModel *model, Oid relid, List *lost, Oid heap)
{
	char	   *actions;

	if (etl_model_is_view(model) || etl_model_is_matview(model))
		return false;
	actions = actions_for(model, relid, lost, heap, true);
	if (actions == NULL)
		return false;
	etl_execute_utility(psprintf("ALTER TABLE %s%s", etl_quoted_relation(heap), actions));
	CommandCounterIncrement();
	return true;
}

void
etl_given_constraints_of_rows(const EtlModel *model, Oid relid)
{
	if (!etl_model_is_view(model) && !etl_model_is_matview(model))
		give_constraints(model, relid, true);
}

bool
etl_given_drops(const EtlModel *model, Oid relid, const char *constraint)
{
	ListCell   *cell;

	if (!etl_constraint_is_ours(constraint, 'c'))
		return false;
	foreach(cell, etl_json_get_list(model->options, "constraints"))
		if (strcmp(etl_constraint_name(relid, 'c', lfirst(cell)), constraint) == 0)
			return false;
	return true;
}

/*
 * released_columns lists the columns that the definition of before let be NOT
 * NULL and this one does not; those of a primary key stay so.
 */
static List *
released_columns(const EtlModel *model, Oid relid, int old_version)
{
	EtlVersion *old = old_version > 0 ? etl_version_find("model", model->target, old_version) : NULL;
	Jsonb	   *options = old && old->definition ? etl_json_get(old->definition, "options") : NULL;
	List	   *wanted = etl_json_get_list(model->options, "not_null");
	List	   *released = NIL;
	Relation	rel;
	Bitmapset  *key;
	ListCell   *cell;

	if (options == NULL || !etl_json_has(options, "not_null"))
		return NIL;
	rel = table_open(relid, AccessShareLock);
	key = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	table_close(rel, NoLock);
	foreach(cell, etl_json_get_list(options, "not_null"))
	{
		AttrNumber	number = get_attnum(relid, lfirst(cell));

		if (number > 0 && !etl_name_among(wanted, lfirst(cell)) &&
			!bms_is_member(number - FirstLowInvalidHeapAttributeNumber, key))
			released = lappend(released, lfirst(cell));
	}
	return released;
}

List *
etl_given_released(const EtlModel *model, Oid relid)
{
	return released_columns(model, relid, etl_node_state_get(model->target)->built_version);
}

/*
 * take_not_null takes NOT NULL from the columns that are not to have it any
 * more.
 */
static void
take_not_null(const EtlModel *model, Oid relid, int old_version)
{
	ListCell   *cell;

	foreach(cell, released_columns(model, relid, old_version))
	{
		etl_lock_briefly(relid);
		etl_execute_utility(psprintf("ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL",
									 etl_quoted_relation(relid), quote_identifier(lfirst(cell))));
		CommandCounterIncrement();
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
 * etl_given_constraints gives a table its constraints, once its rows are
 * there; inside etl_run_as.
 */
void
etl_given_constraints(const EtlModel *model, Oid relid, int old_version)
{
	if (etl_model_is_view(model) || etl_model_is_matview(model))
		return;
	give_constraints(model, relid, false);
	take_not_null(model, relid, old_version);
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
