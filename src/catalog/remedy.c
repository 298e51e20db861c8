/*-------------------------------------------------------------------------
 *
 * remedy.c
 *    The likely cause of a failure, and what ends it.
 *
 * A table from SQLSTATEs to causes and remedies.  The first line that fits
 * counts: its code begins the SQLSTATE, its words stand in the message or in
 * the detail, and its cure, when it has one, finds something.  A remedy that
 * is SQL ends with ";".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/cure.h"
#include "catalog/remedy.h"
#include "catalog/sql.h"

/*
 * In the texts %n is the node, %o its owner, %s its source, %q what the
 * message has in quotation marks first, %h the host of that URL, %r the run.
 * Without a remedy and a cure the hint of the error is the remedy; a remedy
 * that begins with "?" is for errors without a hint.
 */
typedef struct Line
{
	const char *sqlstate;		/* a code, or how codes begin */
	const char *words;			/* NULL: any; only for messages of etl, which are not translated */
	EtlCure		cure;
	const char *cause;
	const char *remedy;
} Line;

static const Line lines[] = {
	{"", "The statement of option pre_hook", NULL, "A statement of option pre_hook of %n failed.",
	 "?Correct the statement in option pre_hook of %n, or what it names."},
	{"", "The statement of option post_hook", NULL, "A statement of option post_hook of %n failed.",
	 "?Correct the statement in option post_hook of %n, or what it names."},
	{"ET001", NULL, NULL, "The definition of %n does not fit what it meets.", NULL},
	{"ET002", NULL, etl_cure_owner, "The role %o that owns the definition of %n was dropped.",
	 NULL},
	{"ET003", NULL, NULL, "Definitions read each other in a circle.", NULL},
	{"ET004", "allowed hosts", etl_cure_hosts,
	 "The setting etl.allowed_hosts does not let %n reach %q.", NULL},
	{"ET004", "leads to an address", etl_cure_hosts,
	 "%q is a private address, and etl.allowed_hosts does not name it.", NULL},
	{"ET004", "allowed directories", etl_cure_directories,
	 "The setting etl.allowed_directories does not let %n read %q.", NULL},
	{"ET004", NULL, NULL, "What %n asks for is not allowed.", NULL},
	{"ET005", "unknown host name", NULL,
	 "The name %h has no address: it is misspelt, or the name service of this server does not know "
	 "it.",
	 "Correct the option \"url\" of source %s with etl.define_source(), or make %h known to the "
	 "name "
	 "service (on the server: getent hosts %h)."},
	{"ET005", "cannot be trusted", NULL, "The certificate of %h cannot be verified.",
	 "Renew the certificate of %h, use the name it was issued for in the option \"url\" of source "
	 "%s, "
	 "or add its authority to the file that etl.tls_ca_file names."},
	{"ET005", "refused connection", NULL, "Nothing listens at the port of %h.",
	 "Start the service at %h, or correct the option \"url\" of source %s with "
	 "etl.define_source()."},
	{"ET005", "a timeout", NULL,
	 "%h did not answer in time: it is overloaded, or the network drops packets.",
	 "See to %h and the network; when it is only slow, raise the option \"timeout\" of source %s."},
	{"ET005", NULL, NULL, "The connection to the source of %n does not last.",
	 "See to %h and the network; source %s is tried more often with a higher option \"retry\"."},
	{"ET006", "HTTP 401", etl_cure_secret,
	 "The credentials of source %s are wrong, have expired or were changed.", NULL},
	{"ET006", "HTTP 403", etl_cure_secret,
	 "The credentials of source %s are not good enough for %q.", NULL},
	{"ET006", "HTTP 404", NULL, "There is nothing at %q: it has moved, or is misspelt.",
	 "Correct the option \"path\" of %n with etl.define_stream(), or \"url\" of source %s with "
	 "etl.define_source()."},
	{"ET006", "HTTP 410", NULL, "%q was given up by whoever runs it.",
	 "Find out what replaces it, and correct the option \"path\" of %n or \"url\" of source %s."},
	{"ET006", "HTTP 429", NULL, "%h limits how often it may be asked.",
	 "Set the option \"rate_limit\" of source %s to what %h allows."},
	{"ET006", "HTTP 5", NULL, "%h has a problem of its own.",
	 "Tell whoever runs %h; a higher option \"retry\" of source %s waits longer for it."},
	{"ET006", NULL, NULL, "%h does not understand what it is asked.",
	 "Compare the options of %n and of source %s with the documentation of %h."},
	{"ET007", NULL, NULL, "What the source of %n gives is not what its options and its format say.",
	 NULL},
	{"ET008", NULL, NULL, "Something in the source of %n is larger than its limit.", NULL},
	{"ET009", NULL, NULL,
	 "More records of the source than the option max_rejects of %n tolerates do not fit its "
	 "columns.",
	 "Correct the records at the source or the columns of %n; with a higher max_rejects they are "
	 "put "
	 "aside, and can be corrected in etl.rejects."},
	{"ET010", "has no column", etl_cure_frozen,
	 "The source has got a field that the schema_policy of %n does not let in.", NULL},
	{"ET010", NULL, NULL, "The source has changed, and the schema_policy of %n does not follow.",
	 NULL},
	{"ET011", NULL, NULL, "Rows are not as the checks of %n demand; nothing of them was published.",
	 "Correct the rows at their origin, or put them aside with on_fail 'quarantine', or correct "
	 "the check; "
	 "SELECT * FROM etl.check_results WHERE run_id = %r AND target = '%n' shows how many they "
	 "are."},
	{"ET013", "etl does not manage it", etl_cure_dependent,
	 "A view that etl does not manage reads what %n changes.", NULL},
	{"ET013", NULL, NULL,
	 "Something that etl does not manage is where %n wants to be, or depends on it.", NULL},
	{"ET014", NULL, NULL,
	 "%n must wait for its source, and a transaction block would hold locks meanwhile.",
	 "CALL etl.run('%n');"},
	{"ET015", NULL, etl_cure_secret,
	 "A secret that source %s sends is not there, or cannot be opened.", NULL},
	{"ET016", NULL, etl_cure_file, "A file that was loaded was changed afterwards.", NULL},
	{"ET017", NULL, NULL, "This is a bug of etl.", NULL},
	{"ET018", NULL, etl_cure_inputs, "%n reads something that does not exist yet, or was dropped.",
	 NULL},
	{"ET019", NULL, etl_cure_lock, "Another session has locked %n, or reads it without a pause.",
	 NULL},
	{"ET020", NULL, etl_cure_horizon, "Rows that %n was built of were deleted from its inputs.",
	 NULL},

	{"42501", NULL, etl_cure_schema, "%o, the owner of %n, may not create its schema.", NULL},
	{"42501", "files of the server", etl_cure_server_files,
	 "%o, the owner of %n, may not read files of the server.", NULL},
	{"42501", NULL, etl_cure_grants, "%o, the owner of %n, lacks a privilege.", NULL},
	{"42501", "\"/", NULL, "The operating system user of the server may not read %q.",
	 "Let the operating system user of the server read %q (chmod or chown it on the server)."},
	{"42501", NULL, NULL, "%o, the owner of %n, lacks a privilege.",
	 "Grant %o, the owner of %n, what the error names."},
	{"42703", NULL, etl_cure_columns, "A column that %n reads was dropped or renamed.", NULL},
	{"42883", NULL, etl_cure_types,
	 "A column that %n reads has another type than before, or a function was dropped.", NULL},
	{"42804", NULL, etl_cure_types, "A column that %n reads has another type than before.", NULL},
	{"42846", NULL, etl_cure_types, "A column that %n reads has another type than before.", NULL},
	{"42P01", NULL, etl_cure_inputs, "%n reads something that does not exist yet, or was dropped.",
	 NULL},
	{"42704", NULL, etl_cure_owner, "The role %o that owns the definition of %n was dropped.",
	 NULL},
	{"3F000", NULL, etl_cure_schema, "The schema of %n does not exist.", NULL},
	{"42", NULL, NULL, "The definition of %n does not fit the database as it is now.",
	 "?Correct the definition of %n, or what it names."},
	{"23505", NULL, etl_cure_unique, "There is more than one row for a key of %n.", NULL},
	{"23505", "more than one row for a key", NULL, "The query of %n yields a key more than once.", NULL},
	{"23502", "does not tell since when", NULL, "Rows of %n are without the time that versions go by.",
	 NULL},
	{"23", NULL, NULL, "Rows for %n violate a constraint of its table.",
	 "Filter these rows in %n, or put them aside with a check on_fail 'quarantine', or drop the "
	 "constraint."},
	{"22012", NULL, NULL, "A divisor in the query of %n is 0 in some row.",
	 "Write the divisor in the query of %n as nullif(…, 0), or filter these rows."},
	{"22", NULL, NULL, "The query of %n cannot compute a value of some row.",
	 "Correct the query of %n, or put these values aside with a check on its input."},
	{"53100", NULL, etl_cure_space, "The disk is full.", NULL},
	{"53200", NULL, NULL, "The server ran out of memory at %n.",
	 "Lower work_mem or etl.max_workers, or build %n in smaller pieces."},
	{"53300", NULL, NULL, "All connections are taken.",
	 "Raise max_connections, or end sessions that idle, before %n is run again."},
	{"53", NULL, NULL, "The server lacks a resource that %n needs.",
	 "?Give the server what the error names for %n."},
	{"54011", "records have", NULL,
	 "The records of %n have more fields than a table can have columns.", NULL},
	{"54", NULL, NULL, "%n exceeds a limit of the server.", "Split %n into smaller models."},
	{"55P03", NULL, etl_cure_lock, "Another session has locked what %n needs.", NULL},
	{"40", NULL, etl_cure_again, "Another transaction was in the way of %n.", NULL},
	{"57014", NULL, NULL, "%n took longer than a timeout allows, or somebody cancelled it.",
	 "Raise the option \"timeout\" of %n or the statement_timeout of who runs it, or make %n "
	 "faster."},
	{"57P", NULL, etl_cure_again, "The process that worked on %n was ended from outside.", NULL},
	{"58", NULL, etl_cure_space, "The operating system refused to read or write a file.", NULL},
	{"08", NULL, NULL, "The connection to another server broke at %n.",
	 "See to the server that the error names; then %n can be run again."},
	{"28", NULL, NULL, "Another server refused the credentials that %n uses.",
	 "Correct the user mapping that %n uses with ALTER USER MAPPING."},
	{"XX", NULL, NULL, "The server met something that should not be possible.",
	 "Look at the server log around %n, and check the storage of the server."},
	{"", NULL, NULL, "What the error of %n says.", "?Correct for %n what the error says."},
};

/*
 * fill puts names in the place of %-letters.
 */
static char *
fill(const char *template, const EtlCase *failed)
{
	StringInfoData text;

	initStringInfo(&text);
	for (const char *p = template; *p; p++)
	{
		const char *value = NULL;

		if (p[0] != '%')
		{
			appendStringInfoChar(&text, *p);
			continue;
		}
		switch (*++p)
		{
			case 'n':
				value = failed->name ? failed->name->canonical : "the node";
				break;
			case 'o':
				value = failed->owner ? failed->owner : "The owner";
				break;
			case 's':
				value = failed->source ? failed->source->name : "the stream";
				break;
			case 'q':
				value = failed->subject ? failed->subject : "it";
				break;
			case 'h':
				value = failed->host ? failed->host : "the server of the source";
				break;
			case 'r':
				value = psprintf(INT64_FORMAT, failed->failure->run_id);
				break;
		}
		appendStringInfoString(&text, value);
	}
	return text.data;
}

/*
 * quoted returns the first text in quotation marks, NULL when there is none.
 */
static char *
quoted(const char *text)
{
	const char *open = text ? strchr(text, '"') : NULL;
	const char *close = open ? strchr(open + 1, '"') : NULL;

	return close ? pnstrdup(open + 1, close - open - 1) : NULL;
}

/*
 * host_of returns the host of a URL, NULL when it is none.
 */
static char *
host_of(const char *url)
{
	const char *host = url ? strstr(url, "://") : NULL;

	return host ? pnstrdup(host + 3, strcspn(host + 3, "/?#")) : NULL;
}

/*
 * open_case finds what is defined about a failed node.
 */
static void
open_case(EtlCase *failed, const EtlFailure *failure)
{
	memset(failed, 0, sizeof(EtlCase));
	failed->failure = failure;
	failed->subject = quoted(failure->message);
	failed->host = host_of(failed->subject);
	if (failure->node == NULL)
		return;
	failed->name = etl_name_parse(failure->node);
	failed->model = etl_model_find(failure->node);
	failed->stream = failed->model ? NULL : etl_stream_find(failure->node);
	failed->source = failed->stream ? etl_source_find(failed->stream->source) : NULL;
	failed->owner = failed->model  ? failed->model->owner :
					failed->stream ? failed->stream->owner :
									 NULL;
}

/*
 * fits tells whether a line is about such a failure.  Of what went wrong
 * with a whole run only the message is known.
 */
static bool
fits(const Line *line, const EtlFailure *failure)
{
	bool		any = line->sqlstate[0] == '\0';

	if (line->words != NULL && !(failure->message && strstr(failure->message, line->words)) &&
		!(failure->detail && strstr(failure->detail, line->words)))
		return false;
	if (failure->sqlstate == NULL)
		return line->words != NULL || any;
	return strncmp(failure->sqlstate, line->sqlstate, strlen(line->sqlstate)) == 0;
}

/*
 * hint_of returns the hint of the error, made to say what it is about.
 */
static char *
hint_of(const EtlCase *failed)
{
	const char *hint = failed->failure->hint;
	const char *name = failed->name ? failed->name->canonical : failed->subject;

	if (name == NULL || strstr(hint, name) != NULL)
		return pstrdup(hint);
	return psprintf("%s: %s", name, hint);
}

/*
 * etl_remedy_find: see remedy.h.
 */
void
etl_remedy_find(const EtlFailure *failure, EtlRemedy *remedy)
{
	EtlCase		failed;

	open_case(&failed, failure);
	for (int i = 0; i < lengthof(lines); i++)
	{
		const Line *line = &lines[i];

		if (!fits(line, failure))
			continue;
		/* what the words of a message name needs no node */
		remedy->remedy = line->cure && (failed.name || line->words) ? line->cure(&failed) :
						 line->remedy								? fill(line->remedy, &failed) :
																	  NULL;
		if (remedy->remedy != NULL && remedy->remedy[0] == '?')
			remedy->remedy = failure->hint ? NULL : remedy->remedy + 1;
		if (line->cure != NULL && remedy->remedy == NULL)
			continue;
		remedy->cause = fill(line->cause, &failed);
		if (remedy->remedy != NULL || failure->hint != NULL)
			break;
	}
	if (remedy->remedy == NULL)
		remedy->remedy = hint_of(&failed);
	remedy->is_sql = remedy->remedy[strlen(remedy->remedy) - 1] == ';';
}

TimestampTz
etl_failing_since(const char *node, int64 *runs)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_text(&params, node);
	rows = etl_sql_query(
		"SELECT min(finished_at) AS since, count(DISTINCT run_id) AS runs FROM etl.task"
		" WHERE node = $1 AND status = 'failed' AND run_id > coalesce((SELECT max(run_id) FROM etl.task"
		" WHERE node = $1 AND status = 'succeeded'), 0)", &params);
	*runs = etl_row_int8(rows, 0, "runs");
	return etl_row_timestamp(rows, 0, "since");
}

/*
 * etl_remedy_rejects: when a run could not use one column of all records
 * that it read, then the source has changed its type, not a record.
 */
char *
etl_remedy_rejects(int64 run_id, const char *node)
{
	EtlParams	params = {0};
	EtlRows    *rows;

	etl_param_int8(&params, run_id);
	etl_param_text(&params, node);
	rows = etl_sql_query(
		"WITH landed AS (SELECT coalesce(sum(rows_read - rows_rejected), 0) AS n FROM etl.load"
		" WHERE run_id = $1 AND target = $2),"
		" reason AS (SELECT r.reject_id, x->>'column' AS name, x->>'value' AS value"
		" FROM etl.reject r, jsonb_array_elements(r.reasons) AS x WHERE r.run_id = $1 AND r.target = $2"
		" AND r.status = 'open' AND NOT coalesce(r.of_row, false) AND x->>'check' = 'type'),"
		" changed AS (SELECT name, CASE WHEN bool_and(value ~ '^-?[0-9]+(\\.[0-9]+)?$') THEN 'numeric'"
		" ELSE 'text' END AS type FROM reason GROUP BY name"
		" HAVING count(DISTINCT reject_id) > (SELECT n FROM landed))"
		" SELECT string_agg(format('ALTER TABLE %s ALTER COLUMN %I TYPE %s;', $2, name, type), E'\\n'"
		" ORDER BY name) || format(E'\\nSELECT * FROM etl.replay(%L);', $2) AS text FROM changed"
		" JOIN pg_attribute a ON a.attrelid = to_regclass($2) AND a.attname = name AND NOT a.attisdropped"
		" WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass"
		" AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum"
		" AND d.classid = 'pg_rewrite'::regclass)"
		" HAVING count(*) > 0", &params);
	return rows->n > 0 ? etl_row_text(rows, 0, "text") : NULL;
}
