/*-------------------------------------------------------------------------
 *
 * project.c
 *    Which definitions a script in git holds.
 *
 * Between etl.begin_project and etl.end_project every define function notes
 * its definition with the number of the deployment: what the project has
 * from earlier deployments only is what the script no longer defines.  The
 * session's project is a setting, so that it goes back with a transaction
 * that is rolled back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/environment.h"
#include "catalog/project.h"
#include "catalog/sql.h"
#include "common/guc.h"

char *
etl_project_at(int64 *deployment)
{
	char	   *name;

	if (etl_project == NULL || *etl_project == '\0')
		return NULL;
	/* number and name, as etl.begin_project has set it */
	*deployment = strtoi64(etl_project, &name, 10);
	return *name == ' ' ? pstrdup(name + 1) : NULL;
}

int64
etl_project_begin(const char *name, const char *owner)
{
	EtlParams	params = {0};

	etl_param_text(&params, name);
	etl_param_text(&params, owner);
	return etl_sql_int8("INSERT INTO etl.project AS p (name, owner) VALUES ($1, $2)"
						" ON CONFLICT (name) DO UPDATE SET deployment = p.deployment + 1,"
						" began_at = clock_timestamp(), ended_at = NULL RETURNING deployment",
						&params);
}

char *
etl_project_owner(const char *name, int64 *deployment)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, name);
	rows = etl_sql_query("SELECT owner, deployment FROM etl.project WHERE name = $1 FOR UPDATE", &params);
	if (rows->n == 0)
		return NULL;
	*deployment = etl_row_int8(rows, 0, "deployment");
	return etl_row_text(rows, 0, "owner");
}

void
etl_project_end(const char *name)
{
	EtlParams	params = {0};

	etl_param_text(&params, name);
	etl_sql_exec("UPDATE etl.project SET ended_at = clock_timestamp() WHERE name = $1", &params);
}

List *
etl_project_stale(const char *name, int64 deployment, bool lock)
{
	EtlParams	params = {0};
	EtlRows    *rows;
	List	   *items = NIL;

	etl_param_text(&params, name);
	etl_param_int8(&params, deployment);
	rows = etl_sql_query(lock ? "SELECT kind, name, nullif(part, '') AS part FROM etl.project_item"
								" WHERE project = $1 AND deployment < $2"
								" ORDER BY kind, name COLLATE \"C\", part COLLATE \"C\" FOR UPDATE" :
								"SELECT kind, name, nullif(part, '') AS part FROM etl.project_item"
								" WHERE project = $1 AND deployment < $2"
								" ORDER BY kind, name COLLATE \"C\", part COLLATE \"C\"", &params);
	for (int i = 0; i < rows->n; i++)
	{
		EtlProjectItem *item = palloc0(sizeof(EtlProjectItem));

		item->kind = etl_row_text(rows, i, "kind");
		item->name = etl_row_text(rows, i, "name");
		item->part = etl_row_text(rows, i, "part");
		items = lappend(items, item);
	}
	return items;
}

void
etl_project_has(const char *kind, const char *name, const char *part)
{
	EtlParams	params = {0};
	int64		deployment;
	char	   *project = etl_project_at(&deployment);

	/* an environment is beside what scripts deploy */
	if (project == NULL || etl_environment_on())
		return;
	etl_param_text(&params, kind);
	etl_param_text(&params, name);
	etl_param_text(&params, part ? part : "");
	etl_param_text(&params, project);
	etl_param_int8(&params, deployment);
	etl_sql_exec("INSERT INTO etl.project_item (kind, name, part, project, deployment)"
				 " SELECT $1, $2, $3, p.name, p.deployment FROM etl.project AS p"
				 " WHERE p.name = $4 AND p.deployment = $5 ON CONFLICT (kind, name, part) DO UPDATE"
				 " SET project = excluded.project, deployment = excluded.deployment", &params);
}

void
etl_project_lacks(const char *kind, const char *name, const char *part)
{
	EtlParams	params = {0};

	etl_param_text(&params, kind);
	etl_param_text(&params, name);
	etl_param_text(&params, part ? part : "");
	etl_sql_exec("DELETE FROM etl.project_item WHERE kind = $1 AND name = $2 AND part = $3", &params);
}
