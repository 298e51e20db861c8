/*-------------------------------------------------------------------------
 *
 * events.c
 *    What a schedule waits for besides the clock.
 *
 * The events of a rule are numbered from left to right and have a row each,
 * where it is noted that they happened; the rule itself is a tree of all and
 * any over those numbers.  When it has fired, every event starts anew.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "utils/builtins.h"

#include "catalog/event.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/options.h"
#include "run/events.h"

#define MAX_EVENTS		   50
#define MAX_DEPTH		   5
#define DEFAULT_EVERY	   "10 seconds"
#define DEFAULT_TIMEOUT_MS 10000

const EtlOptionDef etl_event_options[] = {
	{"all", "any", NULL,
	 "A list of events; fires when each of them has happened since the last run."},
	{"any", "any", NULL, "A list of events; fires when one of them happens."},
	{"debounce", "duration", NULL, "Fires only after this time without another of the events."},
	{"every", "duration", "10 s", "How often an sql condition is evaluated."},
	{"file", "text", NULL,
	 "A stream fed from files; happens when a file arrives that its pattern matches."},
	{"notify", "text", NULL,
	 "A channel; happens when something sends NOTIFY on it (needs the scheduler)."},
	{"published", "text", NULL, "A stream or model; happens when rows of it have been published."},
	{"sql", "text", NULL,
	 "A SELECT of one boolean, run as the schedule's owner; happens when it becomes true."},
	{"timeout", "duration", "10 s",
	 "How long an sql condition may take; what takes longer is an error of this look, shown in "
	 "etl.schedules."},
	{NULL}};

typedef struct Reader
{
	EtlEventRule *rule;
	int			depth;
} Reader;

/*
 * refuse raises ET001 for a part of a rule.
 */
static void
refuse(const Jsonb *value, const char *detail)
{
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("invalid value for argument \"on_event\": %s", etl_json_text(value)),
			 errdetail("%s", detail),
			 errhint("SELECT * FROM etl.options('event') lists what events there are.")));
}

/*
 * check_condition raises ET001 unless a text is a single SELECT.
 */
static void
check_condition(const Jsonb *value, const char *text)
{
	List	   *statements = raw_parser(text, RAW_PARSE_DEFAULT);
	SelectStmt *select;

	if (list_length(statements) != 1 || !IsA(linitial_node(RawStmt, statements)->stmt, SelectStmt))
		refuse(value, "The condition must be a single SELECT.");
	select = castNode(SelectStmt, linitial_node(RawStmt, statements)->stmt);
	if (select->intoClause != NULL)
		refuse(value, "The condition must be a SELECT without INTO.");
}

/*
 * read_every reads how often a condition is evaluated.
 */
static Interval *
read_every(const Jsonb *value)
{
	char	   *text = etl_json_get_text(value, "every");

	if (text != NULL && etl_option_duration_ms("every", text) < 1000)
		refuse(value, "A condition is evaluated once a second at most.");
	return DatumGetIntervalP(DirectFunctionCall3(interval_in,
												 CStringGetDatum(text ? text : DEFAULT_EVERY),
												 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/*
 * read_timeout reads how long an evaluation may take, in milliseconds.
 */
static int64
read_timeout(const Jsonb *value)
{
	char	   *text = etl_json_get_text(value, "timeout");
	int64		ms = text ? etl_option_duration_ms("timeout", text) : DEFAULT_TIMEOUT_MS;

	if (ms < 1)
		refuse(value, "The timeout of a condition must be positive.");
	return ms;
}

/*
 * refuse_timing refuses what only an sql condition has.
 */
static void
refuse_timing(const Jsonb *value)
{
	if (etl_json_has(value, "every"))
		refuse(value, "Only an sql condition is evaluated every so often.");
	if (etl_json_has(value, "timeout"))
		refuse(value, "Only an sql condition has a timeout.");
}

/*
 * read_event reads an event and numbers it.
 */
static EtlEventTree *
read_event(Reader *reader, const Jsonb *value, const char *kind)
{
	EtlEventTree *tree = palloc0(sizeof(EtlEventTree));
	EtlEvent   *event = palloc0(sizeof(EtlEvent));
	char	   *argument = etl_json_get_text(value, kind);

	if (argument == NULL || argument[0] == '\0')
		refuse(value, psprintf("\"%s\" needs a value.", kind));
	if (strcmp(kind, "sql") != 0)
		refuse_timing(value);
	if (list_length(reader->rule->events) == MAX_EVENTS)
		refuse(value, psprintf("A rule has at most %d events.", MAX_EVENTS));

	if (strcmp(kind, "sql") == 0)
	{
		check_condition(value, argument);
		event->every = read_every(value);
		event->timeout_ms = read_timeout(value);
	}
	else if (strcmp(kind, "notify") != 0)
		argument = etl_name_canonical(argument);
	else if (strlen(argument) >= NAMEDATALEN)
		refuse(value, psprintf("The name of a channel has at most %d bytes.", NAMEDATALEN - 1));

	event->kind = pstrdup(kind);
	event->argument = argument;
	event->number = list_length(reader->rule->events) + 1;
	event->check_at = strcmp(kind, "sql") == 0 ? 0 : DT_NOBEGIN;
	reader->rule->events = lappend(reader->rule->events, event);
	tree->number = event->number;
	return tree;
}

static EtlEventTree *read_tree(Reader *reader, const Jsonb *value);

/*
 * read_parts reads the list of an all or any.
 */
static EtlEventTree *
read_parts(Reader *reader, const Jsonb *value, bool all)
{
	EtlEventTree *tree = palloc0(sizeof(EtlEventTree));
	Jsonb	   *list = etl_json_get(value, all ? "all" : "any");
	JsonbIterator *iterator;
	JsonbValue	item;

	if (list == NULL || etl_json_kind(list) != 'a' || JB_ROOT_COUNT(list) == 0)
		refuse(value, "all and any need a list of events.");
	tree->all = all;
	iterator = JsonbIteratorInit(&list->root);
	(void) JsonbIteratorNext(&iterator, &item, true);
	while (JsonbIteratorNext(&iterator, &item, true) == WJB_ELEM)
		tree->parts = lappend(tree->parts, read_tree(reader, JsonbValueToJsonb(&item)));
	return tree;
}

/*
 * read_tree reads an event, or an all or any of them.
 */
static EtlEventTree *
read_tree(Reader *reader, const Jsonb *value)
{
	static const char *const kinds[] = {"all", "any", "file", "published", "notify", "sql"};
	const char *found = NULL;
	EtlEventTree *tree;

	if (etl_json_kind(value) != 'o')
		refuse(value, "An event is an object, for example {\"published\": \"raw.orders\"}.");
	etl_options_check(value, "event", etl_event_options, NULL);
	for (int i = 0; i < lengthof(kinds); i++)
	{
		if (!etl_json_has(value, kinds[i]))
			continue;
		if (found != NULL)
			refuse(value, psprintf("\"%s\" and \"%s\" are two events; put them into a list of all or any.",
								   found, kinds[i]));
		found = kinds[i];
	}
	if (found == NULL)
		refuse(value, "It names no event.");
	if (etl_json_has(value, "debounce") && reader->depth > 0)
		refuse(value, "debounce is for the rule as a whole.");
	if (++reader->depth > MAX_DEPTH)
		refuse(value, "It is nested too deeply.");

	if (strcmp(found, "all") == 0 || strcmp(found, "any") == 0)
	{
		refuse_timing(value);
		tree = read_parts(reader, value, strcmp(found, "all") == 0);
	}
	else
		tree = read_event(reader, value, found);
	reader->depth--;
	return tree;
}

/*
 * etl_event_rule: see events.h.
 */
EtlEventRule *
etl_event_rule(const Jsonb *on_event)
{
	EtlEventRule *rule = palloc0(sizeof(EtlEventRule));
	Reader		reader = {.rule = rule};
	char	   *debounce;

	rule->tree = read_tree(&reader, on_event);
	debounce = etl_json_get_text(on_event, "debounce");
	if (debounce != NULL)
		rule->debounce = etl_option_duration_ms("debounce", debounce) * 1000;
	if (rule->debounce < 0)
		refuse(on_event, "debounce must not be negative.");
	return rule;
}

/*
 * is_true tells whether a part of a rule is true;
 * 'latest' is moved to the latest of its events.
 */
static bool
is_true(const EtlEventTree *tree, List *events, TimestampTz *latest)
{
	bool		all = true;
	bool		any = false;
	ListCell   *cell;

	if (tree->parts == NIL)
	{
		foreach(cell, events)
		{
			EtlEvent   *event = lfirst(cell);

			if (event->number != tree->number || event->happened_at == DT_NOBEGIN)
				continue;
			*latest = Max(*latest, event->happened_at);
			return true;
		}
		return false;
	}
	foreach(cell, tree->parts)
	{
		bool		part = is_true(lfirst(cell), events, latest);

		all = all && part;
		any = any || part;
	}
	return tree->all ? all : any;
}

/*
 * etl_event_rule_when: see events.h.
 */
TimestampTz
etl_event_rule_when(const EtlEventRule *rule, List *happened)
{
	TimestampTz latest = DT_NOBEGIN;

	return is_true(rule->tree, happened, &latest) ? latest + rule->debounce : DT_NOEND;
}
