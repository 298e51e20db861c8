/*-------------------------------------------------------------------------
 *
 * utility.c
 *    Statements that need a database, or the extension, for themselves.
 *
 * DROP and RENAME DATABASE, SET TABLESPACE and CREATE DATABASE ... TEMPLATE
 * refuse to work while anybody is connected; DROP and ALTER EXTENSION would
 * wait for every worker's transaction.  Before them the workers of that
 * database are ended, after them, at the end of the transaction, the
 * launcher looks again: so a statement that fails leaves things as they
 * were.  Who may not do the statement stops nobody.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/syscache.h"

#include "common/compat.h"
#include "common/wake.h"
#include "worker/worker.h"

static ProcessUtility_hook_type previous_utility = NULL;

static bool told_at_commit = false;

/*
 * tell_launcher tells the launcher at the end of a transaction that made the
 * extension or a database.
 */
static void
tell_launcher(XactEvent event, void *arg)
{
	if (!told_at_commit)
		return;
	if (event == XACT_EVENT_COMMIT)
		etl_launcher_tell(MyDatabaseId);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		told_at_commit = false;
}

/*
 * tell_at_commit has tell_launcher do that.
 */
static void
tell_at_commit(void)
{
	static bool registered = false;

	if (!registered)
		RegisterXactCallback(tell_launcher, NULL);
	registered = true;
	told_at_commit = true;
}

/*
 * may_create_databases tells whether the user may create databases.  PostgreSQL 15
 * exports its own test only in its latest minor versions.
 */
static bool
may_create_databases(void)
{
	HeapTuple	tuple;
	bool		may;

	if (superuser())
		return true;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	may = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return may;
}

/*
 * may_copy tells whether the user may take a database as a template.
 */
static bool
may_copy(Oid database)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	bool		template;

	if (!HeapTupleIsValid(tuple))
		return false;
	template = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
	ReleaseSysCache(tuple);
	return template ? may_create_databases() : etl_owns_database(database, GetUserId());
}

/*
 * option_text returns the value of an option of a statement, or NULL.
 */
static char *
option_text(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

/*
 * needed_database returns the database that a statement needs for itself,
 * and that the user may do this to; InvalidOid for all other statements.
 */
static Oid
needed_database(Node *statement)
{
	const char *name = NULL;
	Oid			database;
	bool		copy = false;

	if (IsA(statement, DropdbStmt))
		name = castNode(DropdbStmt, statement)->dbname;
	else if (IsA(statement, RenameStmt) && castNode(RenameStmt, statement)->renameType == OBJECT_DATABASE)
		name = castNode(RenameStmt, statement)->subname;
	else if (IsA(statement, AlterDatabaseStmt) &&
			 option_text(castNode(AlterDatabaseStmt, statement)->options, "tablespace") != NULL)
		name = castNode(AlterDatabaseStmt, statement)->dbname;
	else if (IsA(statement, CreatedbStmt))
	{
		name = option_text(castNode(CreatedbStmt, statement)->options, "template");
		name = name ? name : "template1";
		copy = true;
	}
	if (name == NULL)
		return InvalidOid;

	database = get_database_oid(name, true);
	if (!OidIsValid(database) || database == MyDatabaseId)
		return InvalidOid;
	if (copy ? !may_copy(database) : !etl_owns_database(database, GetUserId()))
		return InvalidOid;
	return database;
}

/*
 * changes_databases tells whether pg_database may be different afterwards.
 */
static bool
changes_databases(Node *statement)
{
	return IsA(statement, CreatedbStmt) || IsA(statement, DropdbStmt) ||
		   IsA(statement, AlterDatabaseStmt);
}

/*
 * drops_extension tells whether a DROP names etl.
 */
static bool
drops_extension(Node *statement)
{
	ListCell   *cell;

	if (!IsA(statement, DropStmt) || castNode(DropStmt, statement)->removeType != OBJECT_EXTENSION)
		return false;
	foreach(cell, castNode(DropStmt, statement)->objects)
		if (strcmp(strVal(lfirst(cell)), "etl") == 0)
			return true;
	return false;
}

/*
 * needs_extension tells whether a statement drops or updates the extension,
 * and the user may.
 */
static bool
needs_extension(Node *statement)
{
	Oid			extension;

	if (!drops_extension(statement) &&
		!(IsA(statement, AlterExtensionStmt) &&
		  strcmp(castNode(AlterExtensionStmt, statement)->extname, "etl") == 0))
		return false;
	extension = get_extension_oid("etl", true);
	return OidIsValid(extension) && etl_owns_extension(extension, GetUserId());
}

/*
 * makes_extension tells whether a statement creates it.
 */
static bool
makes_extension(Node *statement)
{
	return IsA(statement, CreateExtensionStmt) &&
		   strcmp(castNode(CreateExtensionStmt, statement)->extname, "etl") == 0;
}

/*
 * prepare does what a statement needs before it.
 */
static void
prepare(Node *statement)
{
	Oid			database = needed_database(statement);

	if (needs_extension(statement))
		database = MyDatabaseId;
	if (OidIsValid(database) && etl_stop_is_needed(database))
		etl_stop_database(database);
	if (changes_databases(statement) || makes_extension(statement))
		tell_at_commit();
}

/*
 * utility is the hook.
 */
static void
utility(PlannedStmt *planned, const char *query, bool read_only_tree, ProcessUtilityContext context,
		ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest,
		QueryCompletion *completion)
{
	Node	   *statement = planned->utilityStmt;
	bool		commits_prepared = IsA(statement, TransactionStmt) &&
							castNode(TransactionStmt, statement)->kind == TRANS_STMT_COMMIT_PREPARED;

	if (IsTransactionState() && !RecoveryInProgress())
		prepare(statement);
	if (previous_utility)
		previous_utility(planned, query, read_only_tree, context, params, environment, dest, completion);
	else
		standard_ProcessUtility(planned, query, read_only_tree, context, params, environment, dest,
								completion);
	/* what it did is unknown here, and its wish to wake was in another session */
	if (commits_prepared)
		etl_wake_now();
}

/*
 * etl_utility_install puts the hook before those that were there.
 */
void
etl_utility_install(void)
{
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
}
