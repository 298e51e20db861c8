/*-------------------------------------------------------------------------
 *
 * define.c
 *    SQL functions that define and drop channels and rules of alerts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "alert/internal.h"
#include "catalog/alert_rule.h"
#include "catalog/environment.h"
#include "catalog/schedule.h"
#include "common/arguments.h"
#include "common/clock.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/options.h"
#include "common/run_as.h"
#include "common/wake.h"

PG_FUNCTION_INFO_V1(etl_sql_define_channel);
PG_FUNCTION_INFO_V1(etl_sql_drop_channel);
PG_FUNCTION_INFO_V1(etl_sql_define_alert);
PG_FUNCTION_INFO_V1(etl_sql_drop_alert);

#define MAX_NAME 200

void
etl_name_check(const char *kind, const char *name)
{
	if (name == NULL || name[0] == '\0')
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("%s %s needs a name", kind[0] == 'a' ? "an" : "a", kind)));
	for (const unsigned char *p = (const unsigned char *) name; *p; p++)
		if (*p < ' ' || *p == 127)
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("the name of the %s holds a line end or another control character", kind)));
	if (strlen(name) > MAX_NAME)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("the name of the %s is longer than %d bytes", kind, MAX_NAME)));
}

/*
 * select_nodes tries a selector; an argument of etl_subxact.
 */
static void
select_nodes(void *arg)
{
	(void) etl_alert_select(arg);
}

void
etl_selector_check(const char *kind, const char *name, const char *selector)
{
	ErrorData  *error = etl_subxact(select_nodes, unconstify(char *, selector));

	if (error == NULL)
		return;
	if (error->sqlerrcode != ETL_ERR_UNDEFINED)
		etl_rethrow(error);
	if (strcmp(selector, "*") != 0)
		ereport(NOTICE,
				(errmsg("the selector of %s \"%s\" does not fit yet: %s", kind, name, error->message)));
}

/*
 * check_object raises ET001 unless options are a JSON object.
 */
static Jsonb *
check_object(FunctionCallInfo fcinfo, int n)
{
	Jsonb	   *options = PG_ARGISNULL(n) ? etl_json_parse("{}") : PG_GETARG_JSONB_P(n);

	if (etl_json_kind(options) != 'o')
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION), errmsg("options must be a JSON object")));
	return options;
}

/* ---- channels ---- */

/*
 * etl_sql_define_channel is etl.define_channel().
 */
Datum
etl_sql_define_channel(PG_FUNCTION_ARGS)
{
	EtlChannel	channel = {0};
	const EtlOptionDef *defs;
	const char *result;

	channel.name = etl_arg_text(fcinfo, 0);
	channel.kind = etl_arg_required(fcinfo, 1, "kind");
	channel.options = check_object(fcinfo, 2);
	channel.owner = GetUserNameFromId(GetUserId(), false);
	etl_name_check("channel", channel.name);
	if (etl_environment_skips("channel", channel.name))
		PG_RETURN_TEXT_P(cstring_to_text("unchanged"));
	defs = etl_channel_options(channel.kind);
	if (defs == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("unknown kind of channel \"%s\"", channel.kind),
				 errhint("Use one of: %s.", etl_channel_kinds())));
	etl_options_check(channel.options, psprintf("channel:%s", channel.kind), defs, NULL);
	etl_channel_check(channel.kind, channel.options);

	result = etl_channel_store(&channel);
	if (strcmp(result, "unchanged") != 0)
	{
		/* a copy of this database must not deliver what this one does */
		etl_instance_claim();
		etl_wake_at_commit();
	}
	PG_RETURN_TEXT_P(cstring_to_text(result));
}

/*
 * etl_sql_drop_channel is etl.drop_channel().
 */
Datum
etl_sql_drop_channel(PG_FUNCTION_ARGS)
{
	char	   *name = etl_arg_required(fcinfo, 0, "name");
	bool		cascade = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	EtlChannel *channel = etl_channel_find(name);
	List	   *rules;

	if (channel == NULL)
		PG_RETURN_BOOL(false);
	etl_check_owner(channel->owner, "channel", name);
	rules = etl_alert_rules_of_channel(name);
	if (rules != NIL && !cascade)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("channel \"%s\" is used by alert \"%s\"", name, (char *) linitial(rules)),
				 list_length(rules) > 1 ? errdetail("And by %d more.", list_length(rules) - 1) : 0,
				 errhint("Drop those first, or SELECT etl.drop_channel(%s, cascade => true).",
						 quote_literal_cstr(name))));
	PG_RETURN_BOOL(etl_channel_delete(name, etl_now()));
}

/* ---- rules ---- */

/*
 * check_events raises ET001 for an event that there is none of.
 */
static void
check_events(List *events)
{
	List	   *known = NIL;
	ListCell   *cell;

	for (int i = 0; etl_alert_events[i]; i++)
		known = lappend(known, unconstify(char *, etl_alert_events[i]));
	if (events == NIL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("argument \"events\" must name at least one event"),
				 errhint("For example '{run_failed, run_recovered}'.")));
	foreach(cell, events)
	{
		const char *event = lfirst(cell);
		const char *nearest;
		ListCell   *other;
		bool		found = false;

		foreach(other, known)
			found = found || strcmp(lfirst(other), event) == 0;
		if (found)
			continue;
		nearest = etl_nearest(event, known);
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("unknown event \"%s\"", event),
				 nearest ? errhint("Did you mean \"%s\"?", nearest) :
						   errhint("The comment of etl.define_alert lists them.")));
	}
}

/*
 * check_severity raises ET001 for a word that is no severity.
 */
static void
check_severity(const char *severity)
{
	static const char *const words[] = {"info", "warning", "error", "critical"};

	for (int i = 0; i < lengthof(words); i++)
		if (strcmp(severity, words[i]) == 0)
			return;
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("invalid value for argument \"severity\": \"%s\"", severity),
			 errhint("Use info, warning, error or critical.")));
}

/*
 * etl_sql_define_alert is etl.define_alert().
 */
Datum
etl_sql_define_alert(PG_FUNCTION_ARGS)
{
	EtlAlertRule rule = {0};
	EtlRuleOptions options;
	const char *result;
	ListCell   *cell;

	rule.name = etl_arg_text(fcinfo, 0);
	rule.events = etl_arg_texts(fcinfo, 1, "events");
	rule.channels = etl_arg_texts(fcinfo, 2, "channels");
	rule.selector = PG_ARGISNULL(3) ? "*" : etl_arg_text(fcinfo, 3);
	rule.severity = PG_ARGISNULL(4) ? "warning" : etl_arg_text(fcinfo, 4);
	rule.options = check_object(fcinfo, 5);
	rule.owner = GetUserNameFromId(GetUserId(), false);
	etl_name_check("alert", rule.name);
	if (etl_environment_skips("alert", rule.name))
		PG_RETURN_TEXT_P(cstring_to_text("unchanged"));
	check_events(rule.events);
	check_severity(rule.severity);
	etl_rule_options_read(rule.options, &options);
	foreach(cell, rule.channels)
		(void) etl_channel_get(lfirst(cell));
	foreach(cell, options.escalate_channels)
		(void) etl_channel_get(lfirst(cell));
	etl_selector_check("alert", rule.name, rule.selector);

	etl_instance_claim();
	result = etl_alert_rule_store(&rule);
	if (strcmp(result, "unchanged") != 0)
	{
		rule.digest_at = etl_rule_wants(&rule, "digest") ? etl_digest_next(&options, etl_now()) : DT_NOBEGIN;
		rule.no_run_at = etl_rule_wants(&rule, "no_run") ? etl_now() : DT_NOBEGIN;
		etl_alert_rule_set_times(&rule);
		etl_instance_claim();
		etl_alert_forget_cache();
		etl_wake_at_commit();
	}
	PG_RETURN_TEXT_P(cstring_to_text(result));
}

/*
 * etl_sql_drop_alert is etl.drop_alert().
 */
Datum
etl_sql_drop_alert(PG_FUNCTION_ARGS)
{
	char	   *name = etl_arg_required(fcinfo, 0, "name");
	EtlAlertRule *rule = etl_alert_rule_find(name);

	if (rule == NULL)
		PG_RETURN_BOOL(false);
	etl_check_owner(rule->owner, "alert", name);
	etl_alert_forget_cache();
	PG_RETURN_BOOL(etl_alert_rule_delete(name, etl_now()));
}
