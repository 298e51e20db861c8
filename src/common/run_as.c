/*-------------------------------------------------------------------------
 *
 * run_as.c
 *    Acting as the owner of a definition, and never as more.
 *
 * SECURITY_RESTRICTED_OPERATION keeps user SQL from leaving anything behind
 * in the session; the GUC nest level undoes what it SETs.  Both come back by
 * themselves when the surrounding (sub)transaction aborts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "common/compat.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/run_as.h"

/* Settings that can change the result of a query; stored with a definition. */
static const char *const stored_settings[] = {
	"search_path", "TimeZone", "DateStyle", "IntervalStyle", "lc_monetary",
	"lc_numeric", "lc_time", "extra_float_digits", NULL};

/*
 * set_saved sets a setting until the end of the current level.  What has the
 * value already is left alone: to look costs a tenth of setting it, of which
 * the locales alone made a quarter of planning 1,000 models.
 */
static void
set_saved(const char *name, const char *value, GucContext context)
{
	const char *now = GetConfigOption(name, false, false);

	if (now == NULL || strcmp(now, value) != 0)
		(void) set_config_option(name, value, context, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * set_given sets what a definition was given by its option "settings": what
 * any user may set.
 */
static void
set_given(const Jsonb *given)
{
	ListCell   *cell;

	foreach(cell, given ? etl_json_keys(given) : NIL)
		set_saved(lfirst(cell), etl_json_get_text(given, lfirst(cell)), PGC_USERSET);
}

void
etl_run_as_begin(EtlRunAs *as, const char *owner, const Jsonb *settings)
{
	Oid			role = get_role_oid(owner, true);
	const char *const *name;

	if (!OidIsValid(role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\", the owner of this definition, does not exist", owner),
				 errhint("Run its define_* call again as the role that shall own it.")));

	GetUserIdAndSecContext(&as->saved_user, &as->saved_context);
	SetUserIdAndSecContext(role, as->saved_context | SECURITY_RESTRICTED_OPERATION |
									 SECURITY_LOCAL_USERID_CHANGE);
	as->guc_level = NewGUCNestLevel();

	if (settings == NULL)
	{
		set_saved("search_path", "pg_catalog, pg_temp", PGC_USERSET);
		return;
	}
	for (name = stored_settings; *name; name++)
	{
		char	   *value = etl_json_get_text(settings, *name);

		if (value != NULL)
			set_saved(*name, value, PGC_SUSET);
	}
	set_given(etl_json_get(settings, "settings"));
}

void
etl_run_as_end(EtlRunAs *as)
{
	AtEOXact_GUC(false, as->guc_level);
	SetUserIdAndSecContext(as->saved_user, as->saved_context);
}

Jsonb *
etl_settings_capture(void)
{
	EtlJsonBuilder *builder = etl_json_object_begin();
	const char *const *name;

	for (name = stored_settings; *name; name++)
		etl_json_add_text(builder, *name, GetConfigOption(*name, false, false));
	return etl_json_object_end(builder);
}

void
etl_check_owner(const char *owner, const char *kind, const char *name)
{
	Oid			role = get_role_oid(owner, true);

	/* a role that is gone leaves its definitions to superusers */
	if (OidIsValid(role) ? has_privs_of_role(GetUserId(), role) : superuser())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("must be a member of role \"%s\" to change %s \"%s\"", owner, kind, name)));
}

void
etl_check_owns_relation(const char *owner, Oid relid)
{
	if (!etl_owns_relation(relid, get_role_oid(owner, false)))
		ereport(
			ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("role \"%s\" is not the owner of relation \"%s\"", owner, get_rel_name(relid)),
			 errdetail("etl writes only to relations that belong to the owner of the definition."),
			 errhint("Change the owner of the relation with ALTER TABLE … OWNER TO, or choose "
					 "another target.")));
}
