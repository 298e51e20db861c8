/*-------------------------------------------------------------------------
 *
 * message.c
 *    Saying what happened, without values of the data.
 *
 * A message leaves the database: it holds names and counts.  PostgreSQL's
 * errors quote values where they are about values (class 22), and what a
 * function of a user raises may say anything: of those only the kind is told.
 * The error itself is in etl.tasks, for those who may see it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/formatting.h"

#include "alert/internal.h"
#include "common/json.h"

#define MAX_ERROR 500

/* What is likely behind an error, by the beginning of its code; the longest comes first. */
static const struct
{
	const char *sqlstate;
	const char *cause;
} causes[] = {
	{"22012", "an expression divides by zero"},
	{"22003", "a number is greater than its type holds"},
	{"22", "a value does not fit its type"},
	{"23505", "two rows have the same key"},
	{"23", "rows break a constraint of the table"},
	{"28", "the credentials are wrong or have expired"},
	{"40", "two transactions were in each other's way"},
	{"42501", "a right is missing"},
	{"42P01", "a relation is missing"},
	{"42703", "a column is missing or has another name now"},
	{"42", "the query does not fit the relations any more"},
	{"53100", "the disk is full"},
	{"53200", "memory is short"},
	{"53300", "all connections are taken"},
	{"53", "the server is short of resources"},
	{"54", "a limit of the server is exceeded"},
	{"55P03", "somebody else holds a lock"},
	{"57014", "it was cancelled, or took longer than its timeout"},
	{"57P", "the server, or the process, was stopped"},
	{"58", "the operating system refused something"},
	{"08", "a connection was lost"},
	{"P0", "a function of the pipeline raised it"},
	{"ET004", "a host or directory is not among those allowed"},
	{"ET005", "the source cannot be reached"},
	{"ET006", "the source answers with an error"},
	{"ET007", "the source's answer makes no sense"},
	{"ET008", "the source sent more than the limit"},
	{"ET009", "the source sends more malformed records than are tolerated"},
	{"ET010", "the source has changed its columns"},
	{"ET011", "the data does not pass its checks"},
	{"ET013", "something that etl does not manage is in the way"},
	{"ET015", "a secret is missing, expired or cannot be opened"},
	{"ET016", "a file that was loaded has changed"},
	{"ET018", "an input does not exist yet"},
	{"ET019", "somebody else uses the table all the time"},
	{"ET020", "rows that the model was built of are gone from its inputs"},
	{"ET", "the definition does not fit"},
};

const char *
etl_message_cause(const char *sqlstate)
{
	for (int i = 0; sqlstate && i < lengthof(causes); i++)
		if (strncmp(sqlstate, causes[i].sqlstate, strlen(causes[i].sqlstate)) == 0)
			return causes[i].cause;
	return NULL;
}

char *
etl_message_clip(const char *text, int bytes)
{
	int			length = strlen(text);

	if (length <= bytes)
		return pstrdup(text);
	return psprintf("%s…", pnstrdup(text, pg_mbcliplen(text, length, bytes)));
}

char *
etl_message_line(const char *text)
{
	char	   *line = pstrdup(text);

	for (unsigned char *p = (unsigned char *) line; *p; p++)
		if (*p < ' ' || *p == 127)
			*p = ' ';
	return line;
}

/*
 * without_quoted replaces what stands in double quotes.
 */
static char *
without_quoted(const char *text)
{
	StringInfoData out;
	const char *open;
	const char *close;

	initStringInfo(&out);
	while ((open = strchr(text, '"')) != NULL)
	{
		/* a value may hold quotes: everything to the last one goes */
		close = strrchr(text, '"');
		appendBinaryStringInfo(&out, text, open - text);
		appendStringInfoString(&out, "\"…\"");
		text = close > open ? close + 1 : text + strlen(text);
	}
	appendStringInfoString(&out, text);
	return out.data;
}

bool
etl_message_is_about_values(const char *sqlstate)
{
	return strncmp(sqlstate, "22", 2) == 0 || strncmp(sqlstate, "23", 2) == 0 ||
		   strncmp(sqlstate, "P0", 2) == 0;
}

/*
 * is_server_class tells whether messages of an error class are the server's
 * or etl's own, about names.
 */
static bool
is_server_class(const char *sqlstate)
{
	static const char *const known[] = {
		"08", "0A", "23", "25", "28", "40", "42", "53", "54", "55", "57", "58", "XX", "ET", NULL};

	for (int i = 0; known[i]; i++)
		if (strncmp(sqlstate, known[i], 2) == 0)
			return true;
	return false;
}

char *
etl_message_clean(const char *error, const char *sqlstate)
{
	char	   *line = etl_message_line(error);

	if (sqlstate != NULL && strncmp(sqlstate, "22", 2) == 0)
		line = without_quoted(line);
	else if (sqlstate != NULL && !is_server_class(sqlstate))
		return psprintf("an error with SQLSTATE %s", sqlstate);
	return etl_message_clip(line, MAX_ERROR);
}

/*
 * text_of returns a text of a message's body, "" when it has none.
 */
static const char *
text_of(const Jsonb *body, const char *key)
{
	char	   *text = etl_json_get_text(body, key);

	return text ? text : "";
}

/*
 * etl_message_subject says it in one line.
 */
char *
etl_message_subject(const Jsonb *body)
{
	const char *message = text_of(body, "message");
	const char *state =
		strcmp(message, "resolved") == 0	 ? "RESOLVED" :
		strcmp(message, "escalated") == 0	 ? "ESCALATED" :
		strcmp(message, "acknowledged") == 0 ? "ACKNOWLEDGED" :
		strcmp(message, "test") == 0		 ? "TEST" :
											   asc_toupper(text_of(body, "severity"),
														   strlen(text_of(body, "severity")));
	int64		others = etl_json_get_int64(body, "others", 0);

	return etl_message_line(others > 0 ? psprintf("%s: %s (+ " INT64_FORMAT " below)", state,
												  text_of(body, "what"), others) :
										 psprintf("%s: %s", state, text_of(body, "what")));
}

/*
 * add_line appends a labelled line when there is something to say.
 */
static void
add_line(StringInfo out, const char *label, const char *text)
{
	if (text[0] != '\0')
		appendStringInfo(out, "%-11s %s\n", label, text);
}

/*
 * etl_message_text says all of it, for people.
 */
char *
etl_message_text(const Jsonb *body)
{
	StringInfoData out;
	int64		others = etl_json_get_int64(body, "others", 0);
	int64		occurrences = etl_json_get_int64(body, "occurrences", 1);

	initStringInfo(&out);
	appendStringInfo(&out, "%s\n\n", text_of(body, "what"));
	add_line(&out, "since:", text_of(body, "since"));
	add_line(&out, "error:", text_of(body, "error"));
	add_line(&out, "sqlstate:", text_of(body, "sqlstate"));
	add_line(&out, "cause:", text_of(body, "cause"));
	add_line(&out, "remedy:", text_of(body, "remedy"));
	if (others > 0)
		add_line(&out, "below it:", psprintf(INT64_FORMAT " nodes are not done because of it", others));
	if (occurrences > 1)
		add_line(&out, "happened:", psprintf(INT64_FORMAT " times", occurrences));
	add_line(&out, "over since:", text_of(body, "resolved_at"));
	add_line(&out, "seen by:", text_of(body, "acknowledged_by"));
	add_line(&out, "note:", text_of(body, "note"));
	appendStringInfo(&out, "\ndatabase %s, alert %s, rule %s, event %s%s%s\n", text_of(body, "database"),
					 text_of(body, "alert_id"), text_of(body, "rule"), text_of(body, "event"),
					 text_of(body, "run_id")[0] ? ", run " : "", text_of(body, "run_id"));
	return out.data;
}
