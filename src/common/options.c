/*-------------------------------------------------------------------------
 *
 * options.c
 *    Option keys: what exists, its type and default, and reading values.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <math.h>

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "common/driver.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/option_sets.h"
#include "common/options.h"

/*
 * find_option looks a key up in a set; NULL when it is not there.
 */
static const EtlOptionDef *
find_option(const EtlOptionDef *defs, const char *key)
{
	for (; defs && defs->name; defs++)
		if (strcmp(defs->name, key) == 0)
			return defs;
	return NULL;
}

/*
 * names_of lists the keys of a set.
 */
static List *
names_of(const EtlOptionDef *defs, List *names)
{
	for (; defs && defs->name; defs++)
		names = lappend(names, unconstify(char *, defs->name));
	return names;
}

/*
 * one_of tells whether 'value' is one of the words of "a|b|c".
 */
static bool
one_of(const char *words, const char *value)
{
	size_t		length = strlen(value);

	while (*words)
	{
		size_t		word = strcspn(words, "|");

		if (word == length && strncmp(words, value, length) == 0)
			return true;
		words += word;
		if (*words == '|')
			words++;
	}
	return false;
}

/*
 * is_integer tells whether a JSON number is a bigint.
 */
static bool
is_integer(const char *text)
{
	char	   *end;

	errno = 0;
	(void) strtoll(text, &end, 10);
	return *end == '\0' && errno == 0;
}

/*
 * all_texts tells whether a JSON array holds nothing but texts.
 */
static bool
all_texts(const Jsonb *array)
{
	JsonbIterator *it = JsonbIteratorInit(unconstify(JsonbContainer *, &array->root));
	JsonbValue	item;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
		if (token == WJB_ELEM && item.type != jbvString)
			return false;
	return true;
}

/*
 * set_of names a registered set that has the option 'key', 'of' when it does:
 * the options of a stream come from several sets.
 */
static const char *
set_of(const char *key, const char *of)
{
	const char *found = NULL;
	ListCell   *cell;

	foreach(cell, etl_option_sets())
	{
		EtlOptionSet *set = lfirst(cell);

		if (key == NULL || find_option(set->defs, key) == NULL)
			continue;
		if (strcmp(set->of, of) == 0)
			return of;
		if (found == NULL)
			found = set->of;
	}
	return found ? found : of;
}

/*
 * check_value raises ET001 unless 'value' has the type that 'def' wants.
 * {"secret": name} fits wherever text does.
 */
static void
check_value(const EtlOptionDef *def, const Jsonb *value, const char *of)
{
	const char *type = def->type;
	char		kind = etl_json_kind(value);
	char	   *text = etl_json_bare_text(value);
	bool		secret = kind == 'o' && etl_json_has(value, "secret");
	bool		ok;

	if (strcmp(type, "any") == 0)
		ok = true;
	else if (strcmp(type, "text") == 0)
		ok = kind == 's' || kind == 'n' || kind == 'b' || secret;
	else if (strcmp(type, "text[]") == 0)
		ok = kind == 's' || (kind == 'a' && all_texts(value));
	else if (strcmp(type, "integer") == 0)
		ok = kind == 'n' && is_integer(text);
	else if (strcmp(type, "number") == 0)
		ok = kind == 'n';
	else if (strcmp(type, "boolean") == 0)
		ok = kind == 'b';
	else if (strcmp(type, "object") == 0)
		ok = kind == 'o';
	else if (strcmp(type, "size") == 0)
		ok = (kind == 's' || kind == 'n') && (etl_option_size(def->name, text), true);
	else if (strcmp(type, "duration") == 0)
		ok = kind == 's' && (etl_option_duration_ms(def->name, text), true);
	else if (strcmp(type, "threshold") == 0)
		ok = (kind == 's' || kind == 'n') && (etl_option_threshold(def->name, text), true);
	else
		ok = kind == 's' && one_of(type, text);

	if (!ok)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid value for option \"%s\": %s", def->name, secret ? "{\"secret\": …}" : text),
				 errdetail("It must be %s.", strchr(type, '|') ? psprintf("one of %s", type) : type),
				 errhint("SELECT * FROM etl.options('%s') describes it.", set_of(def->name, of))));
}

void
etl_options_check(const Jsonb *options, const char *of,
				  const EtlOptionDef *defs, const EtlOptionDef *more)
{
	ListCell   *cell;

	if (!JB_ROOT_IS_OBJECT(options))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("options must be a JSON object, not %s", etl_json_text(options))));

	foreach(cell, etl_json_keys(options))
	{
		const char *key = lfirst(cell);
		const EtlOptionDef *def = find_option(defs, key);
		Jsonb	   *value;

		if (def == NULL)
			def = find_option(more, key);
		if (def == NULL)
		{
			const char *nearest = etl_nearest(key, names_of(more, names_of(defs, NIL)));

			ereport(
				ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("unknown option \"%s\" for %s", key, of),
				 nearest ? errdetail("The nearest option is \"%s\".", nearest) : 0,
				 errhint(
					 "SELECT * FROM etl.options('%s') lists them; docs/reference.md explains them.",
					 set_of(nearest, of))));
		}
		value = etl_json_get(options, key);
		if (value != NULL)
			check_value(def, value, of);
	}
}

/*
 * etl_option_judge: see options.h.
 */
void
etl_option_judge(const char *key, const char *of, void (*judge)(void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		judge(arg);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (error->sqlerrcode == ETL_ERR_DEFINITION || etl_error_is_cancel(error) || error->elevel > ERROR)
			PG_RE_THROW();
		FlushErrorState();
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("invalid value for option \"%s\"", key),
				 errdetail("%s%s%s", error->message, error->detail ? ": " : "",
						   error->detail ? error->detail : ""),
				 error->hint ? errhint("%s", error->hint) :
							   errhint("SELECT * FROM etl.options('%s') describes it.", of)));
	}
	PG_END_TRY();
}

/* ---- the sets that etl.options() lists ---- */

static List *option_sets = NIL;

void
etl_options_register(const char *of, const EtlOptionDef *defs)
{
	MemoryContext old;
	EtlOptionSet *set;
	ListCell   *cell;

	foreach(cell, option_sets)
	{
		set = lfirst(cell);
		if (strcmp(set->of, of) == 0 && set->defs == defs)
			return;
	}
	old = MemoryContextSwitchTo(TopMemoryContext);
	set = palloc(sizeof(EtlOptionSet));
	set->of = pstrdup(of);
	set->defs = defs;
	option_sets = lappend(option_sets, set);
	MemoryContextSwitchTo(old);
}

List *
etl_option_sets(void)
{
	return option_sets;
}

/* ---- values ---- */

int64
etl_option_size(const char *key, const char *text)
{
	Datum		size;

	PG_TRY();
	{
		size = DirectFunctionCall1(pg_size_bytes, CStringGetTextDatum(text));
	}
	PG_CATCH();
	{
		FlushErrorState();
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid size for option \"%s\": \"%s\"", key, text),
				 errhint("Write a number with a unit, such as \"64MB\".")));
	}
	PG_END_TRY();
	if (DatumGetInt64(size) <= 0)
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("option \"%s\" must be more than nothing, not \"%s\"", key, text)));
	return DatumGetInt64(size);
}

int64
etl_option_duration_ms(const char *key, const char *text)
{
	Interval   *interval;
	int64		duration;
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		interval = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(text),
														 ObjectIdGetDatum(InvalidOid),
														 Int32GetDatum(-1)));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid duration for option \"%s\": \"%s\"", key, text),
				 errhint("Write an interval, such as \"10 min\".")));
	}
	PG_END_TRY();

	duration = interval->time / 1000 +
			   ((int64) interval->day + (int64) interval->month * DAYS_PER_MONTH) * SECS_PER_DAY * 1000;
	if (duration < 0)
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("option \"%s\" must not be negative, but is \"%s\"", key, text)));
	return duration;
}

EtlThreshold
etl_option_threshold(const char *key, const char *text)
{
	EtlThreshold threshold = {0};
	char	   *end;

	if (text == NULL)
		return threshold;
	threshold.given = true;
	threshold.value = strtod(text, &end);
	while (*end == ' ')
		end++;
	if (end != text && *end == '%')
	{
		threshold.is_share = true;
		threshold.value /= 100;
		end++;
	}
	if (end == text || *end != '\0' || !(threshold.value >= 0) || isinf(threshold.value) ||
		(threshold.is_share && threshold.value > 1) ||
		(!threshold.is_share && threshold.value != floor(threshold.value)))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid value for option \"%s\": \"%s\"", key, text),
				 errhint("Write a count such as 100, or a share such as \"1%%\".")));
	return threshold;
}

bool
etl_threshold_exceeded(const EtlThreshold *threshold, int64 failed, int64 total)
{
	if (!threshold->given)
		return failed > 0;
	/* a share is compared with the slack of one rounding of a double */
	if (threshold->is_share)
		return (double) failed > threshold->value * (double) total * (1 + 1e-12);
	return (double) failed > threshold->value;
}

const char *
etl_nearest(const char *name, List *names)
{
	const char *best = NULL;
	int			best_distance = INT_MAX;
	ListCell   *cell;

	if (strlen(name) > 100)
		return NULL;
	foreach(cell, names)
	{
		const char *candidate = lfirst(cell);
		int			distance;

		if (strlen(candidate) > 100)
			continue;
		distance = varstr_levenshtein(name, strlen(name), candidate, strlen(candidate), 1, 1, 1, true);
		if (distance < best_distance)
		{
			best = candidate;
			best_distance = distance;
		}
	}
	return best_distance <= Max(3, (int) strlen(name) / 2) ? best : NULL;
}

int
etl_max_expansion(const Jsonb *options)
{
	int64		limit = etl_json_get_int64(options, "max_expansion", 1000);

	if (limit < 0 || limit > INT_MAX)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"max_expansion\" must be a positive number, or 0 for no limit")));
	return (int) limit;
}
