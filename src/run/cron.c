/*-------------------------------------------------------------------------
 *
 * cron.c
 *    Cron expressions, read into the sets of their fields.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "pgtime.h"
#include "utils/datetime.h"

#include "common/errors.h"
#include "run/cron.h"

#define SHOWN_LENGTH 200

#define BIT(n) (UINT64CONST(1) << (n))

typedef struct Field
{
	const char *name;
	int			low;
	int			high;
	const char *words;			/* names of three letters each, from 'low' on */
	const char *other_way;		/* what to use for a step beyond the field */
} Field;

enum
{
	OF_SECOND,
	OF_MINUTE,
	OF_HOUR,
	OF_DAY,
	OF_MONTH,
	OF_WEEKDAY,
	N_FIELDS
};

static const Field fields[N_FIELDS] = {
	{"second", 0, 59, "", "every => '%d seconds'"},
	{"minute", 0, 59, "", "every => '%d minutes'"},
	{"hour", 0, 23, "", "every => '%d hours'"},
	{"day of month", 1, 31, "", "every => '%d days'"},
	{"month", 1, 12, "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC", "every => '%d months'"},
	{"day of week", 0, 7, "SUNMONTUEWEDTHUFRISAT", "every => '%d days'"},
};

typedef struct Macro
{
	const char *name;
	const char *meaning;
} Macro;

static const Macro macros[] = {
	{"@yearly", "0 0 1 1 *"},
	{"@annually", "0 0 1 1 *"},
	{"@monthly", "0 0 1 * *"},
	{"@weekly", "0 0 * * 0"},
	{"@daily", "0 0 * * *"},
	{"@midnight", "0 0 * * *"},
	{"@hourly", "0 * * * *"},
	{"@minutely", "* * * * *"},
};

typedef struct Parser
{
	const char *text;			/* as given */
	const char *at;				/* the next character */
	int			field;
	EtlCron    *cron;
} Parser;

/*
 * refuse raises ET001, pointing at a character.
 */
static void
refuse(const Parser *parser, const char *at, const char *what, const char *hint)
{
	int			character = pg_mbstrlen_with_len(parser->text, at - parser->text) + 1;
	int			length = strlen(parser->text);
	int			shown = pg_mbcliplen(parser->text, length, SHOWN_LENGTH);

	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("invalid cron expression \"%s%s\"", pnstrdup(parser->text, shown),
					shown < length ? "…" : ""),
			 parser->field < N_FIELDS ?
				 errdetail("At character %d, in the field for the %s: %s.", character,
						   fields[parser->field].name, what) :
				 errdetail("At character %d: %s.", character, what),
			 errhint("%s", hint ? hint :
								  "Write five fields, minute hour day-of-month month day-of-week, or six "
								  "with the second first, for example '30 2 * * mon-fri'.")));
}

/*
 * shown_character returns the character at a place, for a message.
 */
static char *
shown_character(const char *at)
{
	return *at == '\0' ? "the end" : psprintf("\"%s\"", pnstrdup(at, pg_mblen(at)));
}

/*
 * is_blank tells whether a character separates fields.
 */
static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/*
 * read_digits reads a number of at most four digits.
 */
static int
read_digits(Parser *parser)
{
	const char *begin = parser->at;
	int			value = 0;

	while (*parser->at >= '0' && *parser->at <= '9')
	{
		if (parser->at - begin == 4)
			refuse(parser, begin, "the number is too large", NULL);
		value = value * 10 + (*parser->at++ - '0');
	}
	if (parser->at == begin)
		refuse(parser, begin, psprintf("a number was expected, not %s", shown_character(begin)), NULL);
	return value;
}

/*
 * read_word reads a name of three letters; -1 when there is none.
 */
static int
read_word(Parser *parser)
{
	const Field *field = &fields[parser->field];

	for (int i = 0; field->words[i * 3] != '\0'; i++)
	{
		if (pg_strncasecmp(parser->at, field->words + i * 3, 3) != 0)
			continue;
		parser->at += 3;
		return field->low + i;
	}
	return -1;
}

/*
 * read_value reads a number or name of the current field.
 */
static int
read_value(Parser *parser)
{
	const Field *field = &fields[parser->field];
	const char *begin = parser->at;
	int			value = read_word(parser);

	if (value >= 0)
		return value;
	if (*begin < '0' || *begin > '9')
		refuse(parser, begin,
			   psprintf("%s is neither a number from %d to %d%s", shown_character(begin), field->low,
						field->high, field->words[0] ? " nor a name such as MON or JAN" : " nor *"),
			   NULL);
	value = read_digits(parser);
	if (value < field->low || value > field->high)
		refuse(parser, begin,
			   psprintf("%d is not between %d and %d", value, field->low, field->high), NULL);
	return value;
}

/*
 * read_step reads what may follow a slash; 1 when nothing does.
 */
static int
read_step(Parser *parser)
{
	const Field *field = &fields[parser->field];
	const char *begin;
	int			step;

	if (*parser->at != '/')
		return 1;
	begin = ++parser->at;
	step = read_digits(parser);
	if (step == 0)
		refuse(parser, begin, "a step must be at least 1", NULL);
	if (step > field->high - field->low)
	{
		char		other_way[64];

		snprintf(other_way, sizeof(other_way), field->other_way, step);
		refuse(parser, begin, psprintf("a step of %d never fits into this field", step),
			   psprintf("Use %s instead of cron.", other_way));
	}
	return step;
}

/*
 * mark sets the bits of a range; 7 in the day of week is Sunday.
 */
static uint64
mark(const Parser *parser, int low, int high, int step)
{
	uint64		bits = 0;

	for (int i = low; i <= high; i += step)
		bits |= BIT(parser->field == OF_WEEKDAY ? i % 7 : i);
	return bits;
}

/*
 * read_special reads what only days of the month or of the week know, when
 * it stands there: L, L-3, LW, 15W; 5L, FRI#2.
 */
static bool
read_special(Parser *parser)
{
	EtlCron    *cron = parser->cron;
	const char *begin = parser->at;
	int			value;

	if (parser->field == OF_DAY && (*begin == 'L' || *begin == 'l'))
	{
		parser->at++;
		if (*parser->at == 'W' || *parser->at == 'w')
		{
			parser->at++;
			cron->last_workday = true;
			return true;
		}
		value = 0;
		if (*parser->at == '-')
		{
			parser->at++;
			value = read_digits(parser);
			if (value > 30)
				refuse(parser, begin, "no month has so many days before its last", NULL);
		}
		cron->days_before_end |= BIT(value);
		return true;
	}
	if (parser->field != OF_DAY && parser->field != OF_WEEKDAY)
		return false;
	if (parser->field == OF_WEEKDAY && (*begin == 'L' || *begin == 'l'))
		refuse(parser, begin, "L needs a day before it",
			   "Write 5L or FRIL for the last Friday of the month; the last day of the month is L in "
			   "the third of five fields.");
	if (*begin == '*' || *begin == '?')
		return false;

	value = read_value(parser);
	if (parser->field == OF_DAY && (*parser->at == 'W' || *parser->at == 'w'))
	{
		cron->days_nearest |= BIT(value);
		parser->at++;
		return true;
	}
	if (parser->field == OF_WEEKDAY && (*parser->at == 'L' || *parser->at == 'l'))
	{
		cron->weekdays_last |= BIT(value % 7);
		parser->at++;
		return true;
	}
	if (parser->field == OF_WEEKDAY && *parser->at == '#')
	{
		const char *at = ++parser->at;
		int			nth = read_digits(parser);

		if (nth < 1 || nth > 5)
			refuse(parser, at, "a month has the same day of the week one to five times", NULL);
		cron->weekdays_nth[value % 7] |= BIT(nth);
		return true;
	}
	parser->at = begin;
	return false;
}

/*
 * read_item reads one part of a list: *, a value, a range, each with a step.
 */
static uint64
read_item(Parser *parser)
{
	const Field *field = &fields[parser->field];
	const char *begin = parser->at;
	int			low;
	int			high;

	if (*begin == '*')
	{
		parser->at++;
		return mark(parser, field->low, field->high - (parser->field == OF_WEEKDAY),
					read_step(parser));
	}
	if (read_special(parser))
		return 0;

	low = high = read_value(parser);
	if (*parser->at == '-')
	{
		parser->at++;
		high = read_value(parser);
		if (parser->field == OF_WEEKDAY && high == 0)
			high = 7;
		if (high < low)
			refuse(parser, begin, "the range ends before it begins",
				   "Write it as two ranges, for example 22-23,0-4.");
	}
	else if (*parser->at == '/')
		high = field->high - (parser->field == OF_WEEKDAY && low < 7);
	return mark(parser, low, high, read_step(parser));
}

/*
 * read_field reads one whole field and returns its bits.
 */
static uint64
read_field(Parser *parser)
{
	uint64		bits = 0;

	if (*parser->at == '?')
	{
		if (parser->field != OF_DAY && parser->field != OF_WEEKDAY)
			refuse(parser, parser->at, "? stands for any day, and nowhere else", "Write * here.");
		parser->at++;
		bits = mark(parser, fields[parser->field].low,
					fields[parser->field].high - (parser->field == OF_WEEKDAY), 1);
	}
	else
		for (;;)
		{
			bits |= read_item(parser);
			if (*parser->at != ',')
				break;
			parser->at++;
		}

	if (*parser->at != '\0' && !is_blank(*parser->at))
		refuse(parser, parser->at,
			   psprintf("%s was not expected", shown_character(parser->at)), NULL);
	while (is_blank(*parser->at))
		parser->at++;
	return bits;
}

/*
 * count_fields counts what blanks separate.
 */
static int
count_fields(const char *text)
{
	int			n = 0;

	while (*text)
	{
		while (is_blank(*text))
			text++;
		if (*text == '\0')
			break;
		n++;
		while (*text && !is_blank(*text))
			text++;
	}
	return n;
}

/*
 * expand_macro returns the fields that @daily and the like stand for.
 */
static const char *
expand_macro(const Parser *parser)
{
	size_t		length = strlen(parser->at);

	while (length > 0 && is_blank(parser->at[length - 1]))
		length--;
	for (int i = 0; i < lengthof(macros); i++)
		if (strlen(macros[i].name) == length &&
			pg_strncasecmp(macros[i].name, parser->at, length) == 0)
			return macros[i].meaning;
	refuse(parser, parser->at, "there is no such macro",
		   "Macros are @yearly, @monthly, @weekly, @daily, @hourly and @minutely; for other periods "
		   "use every.");
	return NULL;
}

/*
 * etl_cron_parse: see cron.h.
 */
void
etl_cron_parse(const char *text, EtlCron *cron)
{
	Parser		parser = {.text = text, .at = text, .field = N_FIELDS, .cron = cron};
	uint64	   *bits[N_FIELDS] = {&cron->seconds, &cron->minutes, &cron->hours,
							  &cron->days, &cron->months, &cron->weekdays};
	int			n;

	memset(cron, 0, sizeof(EtlCron));
	while (is_blank(*parser.at))
		parser.at++;
	if (*parser.at == '@')
		parser.at = expand_macro(&parser);
	n = count_fields(parser.at);
	if (n != 5 && n != 6)
		refuse(&parser, parser.at,
			   n == 0 ? "there are no fields" :
						psprintf("there are %d field%s, but five or six are needed", n, n == 1 ? "" : "s"),
			   NULL);

	cron->seconds = BIT(0);
	for (parser.field = N_FIELDS - n; parser.field < N_FIELDS; parser.field++)
	{
		if (parser.field == OF_DAY)
			cron->any_day = *parser.at == '*' || *parser.at == '?';
		if (parser.field == OF_WEEKDAY)
			cron->any_weekday = *parser.at == '*' || *parser.at == '?';
		*bits[parser.field] = read_field(&parser);
	}
	cron->every_hour = cron->hours == BIT(24) - 1;

	/* 2000-01-01 as good as any: a whole cycle of the calendar is searched */
	if (etl_cron_next_wall(cron, INT64CONST(946684800)) == ETL_CRON_NEVER)
		refuse(&parser, text, "no day is ever like that",
			   "Look at the day of the month and the month: the 30th of February never comes.");
}

/*
 * etl_cron_weekdays: see cron.h.
 */
uint64
etl_cron_weekdays(const char *text)
{
	EtlCron		cron = {0};
	Parser		parser = {.text = text, .at = text, .field = OF_WEEKDAY, .cron = &cron};
	uint64		bits = read_field(&parser);

	if (*parser.at != '\0' || cron.weekdays_last != 0)
		refuse(&parser, parser.at, "only days of the week can stand here",
			   "Write days and ranges of days, for example mon-fri or sat,sun.");
	for (int i = 0; i < 7; i++)
		if (cron.weekdays_nth[i] != 0)
			refuse(&parser, text, "only days of the week can stand here",
				   "Write days and ranges of days, for example mon-fri or sat,sun.");
	return bits;
}
