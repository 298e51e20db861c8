/*-------------------------------------------------------------------------
 *
 * fact.c
 *    From a fact to rules, alerts and the outbox.
 *
 * The fingerprint of an alert is rule, event, object and detail.  A run in
 * which more nodes fail than a rule wants alerts for opens one further alert,
 * which counts the rest: ten thousand failures are eleven alerts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "alert/internal.h"
#include "catalog/alert_rule.h"
#include "catalog/sla.h"
#include "common/clock.h"
#include "common/errors.h"
#include "common/json.h"

#define CACHE_AGE  (10 * USECS_PER_SEC)
#define WANTED_AGE (USECS_PER_SEC)
#define MAX_OBJECT 200

List *(*etl_alert_select)(const char *selector) = NULL;

/* ---- what is known for a while: rules, and what their selectors pick ---- */

typedef struct Selection
{
	char	   *selector;
	HTAB	   *nodes;			/* by name */
} Selection;

static struct
{
	MemoryContext context;		/* NULL: nothing is known */
	int64		run_id;
	TimestampTz transaction;	/* when the transaction began that it was read in */
	TimestampTz at;
	List	   *rules;			/* EtlAlertRule * */
	List	   *selections;		/* Selection * */
} cache;

TimestampTz etl_fact_happened_at = 0;

static TimestampTz wanted_at = 0;
static int	wanted = 0;
static int64 wanted_by = 0;		/* the run that asked */

/*
 * etl_alert_forget_cache makes the next fact look at the definitions anew.
 */
void
etl_alert_forget_cache(void)
{
	if (cache.context != NULL)
		MemoryContextDelete(cache.context);
	memset(&cache, 0, sizeof(cache));
	wanted_at = 0;
}

int
etl_alert_wanted(int64 run_id)
{
	TimestampTz now = GetCurrentTimestamp();

	if (wanted_at == 0 || run_id == 0 || run_id != wanted_by || now - wanted_at > WANTED_AGE ||
		now < wanted_at)
	{
		wanted_by = run_id;
		wanted = etl_alerts_wanted();
		wanted_at = now;
	}
	return wanted;
}

/*
 * known_rules returns the rules; facts of one run, and those of one
 * transaction, may be judged by those of a moment ago.
 */
static List *
known_rules(int64 run_id)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		same = run_id != 0 ? cache.run_id == run_id :
							  cache.transaction == GetCurrentTransactionStartTimestamp();
	MemoryContext old;

	if (cache.context != NULL && same && now - cache.at < CACHE_AGE && now >= cache.at)
		return cache.rules;
	etl_alert_forget_cache();
	cache.context = AllocSetContextCreate(TopMemoryContext, "etl alert rules", ALLOCSET_DEFAULT_SIZES);
	cache.run_id = run_id;
	cache.transaction = GetCurrentTransactionStartTimestamp();
	cache.at = now;
	old = MemoryContextSwitchTo(cache.context);
	cache.rules = etl_alert_rules_all();
	MemoryContextSwitchTo(old);
	return cache.rules;
}

typedef struct SelectWork
{
	const char *selector;
	List	   *nodes;
} SelectWork;

/*
 * select_nodes evaluates a selector; an argument of etl_subxact.
 */
static void
select_nodes(void *arg)
{
	SelectWork *work = arg;

	work->nodes = etl_alert_select(work->selector);
}

List *
etl_selected_nodes(const char *selector)
{
	SelectWork	work = {selector, NIL};

	return etl_subxact(select_nodes, &work) == NULL ? work.nodes : NIL;
}

/*
 * is_selected tells whether a selector picks a node, as far as it can be read.
 */
static bool
is_selected(const char *selector, const char *node)
{
	Selection  *selection = NULL;
	HASHCTL		control = {.keysize = NAMEDATALEN * 4, .entrysize = NAMEDATALEN * 4, .hcxt = cache.context};
	char		key[NAMEDATALEN * 4];
	MemoryContext old;
	List	   *nodes;
	ListCell   *cell;

	if (strcmp(selector, "*") == 0)
		return true;
	foreach(cell, cache.selections)
		if (strcmp(((Selection *) lfirst(cell))->selector, selector) == 0)
			selection = lfirst(cell);
	if (selection == NULL)
	{
		nodes = etl_selected_nodes(selector);
		old = MemoryContextSwitchTo(cache.context);
		selection = palloc(sizeof(Selection));
		selection->selector = pstrdup(selector);
		selection->nodes = hash_create("etl selected nodes", 64, &control,
									   HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
		foreach(cell, nodes)
		{
			strlcpy(key, lfirst(cell), sizeof(key));
			(void) hash_search(selection->nodes, key, HASH_ENTER, NULL);
		}
		cache.selections = lappend(cache.selections, selection);
		MemoryContextSwitchTo(old);
	}
	strlcpy(key, node, sizeof(key));
	return hash_search(selection->nodes, key, HASH_FIND, NULL) != NULL;
}

/* ---- a fact and a rule ---- */

bool
etl_rule_wants(const EtlAlertRule *rule, const char *event)
{
	ListCell   *cell;

	foreach(cell, event ? rule->events : NIL)
		if (strcmp(lfirst(cell), event) == 0)
			return true;
	return false;
}

/*
 * wanted_event tells as which event a rule wants a fact; NULL: it does not.
 * *nodes are those of the fact's nodes that the rule is about.
 */
static const char *
wanted_event(const EtlAlertRule *rule, const EtlFact *fact, List **nodes)
{
	const char *event = etl_rule_wants(rule, fact->event) ? fact->event :
						etl_rule_wants(rule, fact->also)  ? fact->also :
															NULL;
	List	   *candidates = fact->nodes;
	ListCell   *cell;

	*nodes = NIL;
	if (event == NULL || etl_rule_wants(rule, fact->unless))
		return NULL;
	if (fact->rule != NULL && strcmp(fact->rule, rule->name) != 0)
		return NULL;
	/* what is late because of a failure that the rule has told is no news */
	if (candidates != NIL && (etl_rule_wants(rule, "run_failed") || etl_rule_wants(rule, "check_failed")))
		candidates = etl_nodes_without_failed_root(rule->name, candidates);
	if (fact->nodes != NIL && candidates == NIL)
		return NULL;
	if (candidates == NIL && strcmp(fact->object_kind, "node") == 0)
		candidates = list_make1(unconstify(char *, fact->object));
	foreach(cell, candidates)
		if (is_selected(rule->selector, lfirst(cell)))
			*nodes = lappend(*nodes, lfirst(cell));
	return candidates != NIL && *nodes == NIL ? NULL : event;
}

/*
 * channels_for lists whom a rule tells: a channel that does not work is not
 * told so.
 */
static List *
channels_for(List *channels, const char *object_kind, const char *object)
{
	List	   *others = NIL;
	ListCell   *cell;

	if (strcmp(object_kind, "channel") != 0)
		return channels;
	foreach(cell, channels)
		if (strcmp(lfirst(cell), object) != 0)
			others = lappend(others, lfirst(cell));
	return others;
}

/*
 * count_rest makes an alert one about the run, when it has opened as many as
 * the rule wants.
 */
static void
count_rest(EtlAlert *alert, const EtlFact *fact, const EtlRuleOptions *options, EtlAlertPolicy *policy)
{
	char	   *selector;

	if (fact->run_id == 0 || strcmp(fact->object_kind, "node") != 0 ||
		etl_alert_is_open(alert->fingerprint) ||
		etl_alerts_of_run(alert->rule, alert->event, fact->run_id) < options->max_alerts)
		return;
	selector = etl_message_clip(etl_message_line(fact->run_selector ? fact->run_selector : "*"), MAX_OBJECT);
	alert->object = selector;
	alert->object_kind = "run";
	alert->fingerprint = psprintf("%s/%s/run/%s", alert->rule, alert->event, selector);
	alert->what = psprintf("more than %d nodes of run " INT64_FORMAT " (%s) have this: %s",
						   options->max_alerts, fact->run_id, selector, alert->event);
	alert->error = alert->sqlstate = NULL;
	alert->cause = "often one cause that they share: see the first of them";
	alert->remedy = psprintf("SELECT * FROM etl.explain_run(" INT64_FORMAT ")", fact->run_id);
	alert->others = 0;
	policy->count_only = etl_alert_is_open(alert->fingerprint);
}

/*
 * tell opens, or counts in, the alert of a rule.
 */
static void
tell(const EtlAlertRule *rule, const char *event, const EtlFact *fact, List *nodes, TimestampTz now)
{
	EtlRuleOptions options;
	EtlAlertPolicy policy = {0};
	EtlAlert	alert = {0};

	etl_rule_options_read(rule->options, &options);
	policy.cooldown_ms = options.cooldown_ms;
	policy.escalate_ms = options.escalate_ms;
	policy.momentary = fact->momentary;
	policy.channels = channels_for(rule->channels, fact->object_kind, fact->object);

	alert.rule = rule->name;
	alert.event = event;
	alert.object = etl_message_clip(etl_message_line(fact->object), MAX_OBJECT);
	alert.object_kind = fact->object_kind;
	alert.severity = strcmp(event, "digest") == 0 ? "info" : rule->severity;
	alert.what = etl_message_clip(etl_message_line(fact->what), 1000);
	alert.error = fact->error ? etl_message_clean(fact->error, fact->sqlstate) : NULL;
	alert.sqlstate = fact->sqlstate;
	alert.cause = fact->cause ? fact->cause : etl_message_cause(fact->sqlstate);
	alert.remedy = fact->remedy ? etl_message_clip(fact->remedy, 2000) : NULL;
	alert.others = fact->others;
	alert.run_id = fact->run_id;
	alert.since = fact->since ? fact->since : etl_fact_happened_at ? etl_fact_happened_at :
																	 now;
	alert.fingerprint = psprintf("%s/%s/%s%s%s", rule->name, event, fact->object, fact->detail ? "/" : "",
								 fact->detail ? fact->detail : "");
	count_rest(&alert, fact, &options, &policy);
	(void) etl_alert_fire(&alert, &policy, nodes, now);
}

void
etl_alert_raise(const EtlFact *fact)
{
	TimestampTz now = etl_now();
	ListCell   *cell;

	foreach(cell, known_rules(fact->run_id))
	{
		EtlAlertRule *rule = lfirst(cell);
		List	   *nodes;
		const char *event = wanted_event(rule, fact, &nodes);

		if (event != NULL && !(fact->warning && !etl_json_get_bool(rule->options, "warnings", true)))
			tell(rule, event, fact, nodes, now);
	}
}

/*
 * etl_alert_settle: see internal.h.
 */
void
etl_alert_settle(const EtlAlert *alert, TimestampTz now)
{
	EtlAlertRule *rule = etl_alert_rule_find(alert->rule);
	EtlRuleOptions options;

	if (rule == NULL)
	{
		etl_alert_resolve(alert->alert_id, NIL, now);
		return;
	}
	etl_rule_options_read(rule->options, &options);
	if (!options.auto_resolve)
		return;
	etl_alert_resolve(alert->alert_id,
					  !options.notify_resolved ?
						  NIL :
						  channels_for(list_concat_copy(rule->channels, options.escalate_channels),
									   alert->object_kind, alert->object),
					  now);
}

void
etl_alert_is_over(const char *event, const char *object)
{
	TimestampTz now = etl_now();
	ListCell   *cell;

	foreach(cell, etl_alerts_open(event, object))
		etl_alert_settle(lfirst(cell), now);
}
