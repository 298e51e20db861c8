/*-------------------------------------------------------------------------
 *
 * dialect.c
 *    Telling the dialect of CSV from a sample, and how sure that is.
 *
 * Every delimiter with every way of quoting is tried on the sample.  What it
 * makes of it is judged by two measures, whose product is its score (after
 * van den Burg, Nazábal and Sutton, "Wrangling messy CSV files by detecting
 * row and type patterns"): how much the records agree on their number of
 * fields, and how many fields look like values.  A delimiter is as certain as
 * its score stands out from that of the next, as the records agree, and as
 * there are records.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/json.h"
#include "decode/decoder.h"
#include "decode/dialect.h"

#define MAX_RECORDS	 1000
#define MAX_PREAMBLE 20			/* lines above the records */
#define MAX_BAD		 3

static const char delimiters[] = {',', ';', '\t', '|', '^', '~', '\x1f', '\x01', ':', ' '};

static const struct
{
	char		quote;
	char		escape;
} quotings[] = {{'"', '"'}, {'"', '\\'}, {'\'', '\''}, {'\'', '\\'}, {'\0', '\0'}};

/* One way to read the sample. */
typedef struct Reading
{
	char		delimiter;
	char		quote;
	char		escape;
	double		score;
	int			columns;		/* of most records */
	double		agreement;		/* share of the records that have them */
	int			quoted;			/* fields in quotes */
} Reading;

const char *
etl_dialect_aspect_name(EtlDialectAspectKind kind)
{
	static const char *const names[] = {"encoding", "delimiter", "quote", "header", "decimal"};

	return names[kind];
}

/*
 * next_line returns the place behind the line that begins at 'at'.
 */
static size_t
next_line(const char *text, size_t length, size_t at)
{
	while (at < length && text[at] != '\n' && text[at] != '\r')
		at++;
	if (at < length && text[at] == '\r')
		at += at + 1 < length && text[at + 1] == '\n' ? 2 : 1;
	else if (at < length)
		at++;
	return at;
}

/*
 * add_record appends the cells of one record, moved to offsets of the sample.
 */
static void
add_record(DialectRows *rows, const CsvScan *scan, size_t at)
{
	int			n = Min(scan->ncells, scan->maxcells);

	while (rows->ncells + n > rows->maxcells)
	{
		rows->maxcells *= 2;
		rows->cells = repalloc(rows->cells, rows->maxcells * sizeof(CsvCell));
	}
	for (int i = 0; i < n; i++)
	{
		rows->cells[rows->ncells] = scan->cells[i];
		rows->cells[rows->ncells].begin += at;
		rows->cells[rows->ncells].end += at;
		rows->ncells++;
	}
	rows->first[++rows->nrecords] = rows->ncells;
}

/*
 * read_rows cuts the sample into records in one way.
 */
static void
read_rows(DialectRows *rows, const Reading *reading, size_t length, size_t at, const char *comment)
{
	CsvDialect	dialect = {0};
	CsvScan		scan = {0};

	dialect.delimiter = reading->delimiter;
	dialect.quoting = reading->quote != '\0';
	dialect.quote = dialect.quoting ? reading->quote : reading->delimiter;
	dialect.escape = dialect.quoting ? reading->escape : reading->delimiter;
	scan.maxcells = 256;
	scan.cells = palloc(scan.maxcells * sizeof(CsvCell));
	rows->ncells = rows->nrecords = rows->bad = 0;
	rows->first[0] = 0;
	while (at < length && rows->nrecords < MAX_RECORDS && rows->bad < MAX_BAD)
	{
		if (comment != NULL && length - at >= strlen(comment) &&
			memcmp(rows->text + at, comment, strlen(comment)) == 0)
		{
			at = next_line(rows->text, length, at);
			continue;
		}
		if (etl_csv_scan(&dialect, rows->text + at, length - at, true, false, &scan) != CSV_RECORD)
		{
			rows->bad++;
			at = next_line(rows->text, length, at);
			continue;
		}
		if (scan.length > 0)
			add_record(rows, &scan, at);
		at += scan.next;
	}
	pfree(scan.cells);
}

/*
 * judge_pattern scores how far the records agree on their number of fields.
 */
static double
judge_pattern(const DialectRows *rows, Reading *reading)
{
	int			counts[257] = {0};
	int			kinds = 0;
	int			most = 0;
	double		sum = 0.0;

	for (int i = 0; i < rows->nrecords; i++)
		counts[Min(rows->first[i + 1] - rows->first[i], 256)]++;
	for (int n = 1; n < lengthof(counts); n++)
	{
		if (counts[n] == 0)
			continue;
		kinds++;
		/* one field is what is left when nothing divides */
		sum += counts[n] * (n == 1 ? 0.3 : (double) (n - 1) / n);
		if (counts[n] >= counts[most])
			most = n;
	}
	reading->columns = most;
	reading->agreement = (double) counts[most] / Max(rows->nrecords + rows->bad, 1);
	return kinds == 0 ? 0.0 : sum / kinds;
}

/*
 * judge_values scores how many fields look like values.
 */
static double
judge_values(const DialectRows *rows, Reading *reading)
{
	double		sum = 0.0;

	reading->quoted = 0;
	for (int i = 0; i < rows->ncells; i++)
	{
		const CsvCell *cell = &rows->cells[i];
		DialectType type;

		if (cell->flags & CSV_QUOTED)
		{
			reading->quoted++;
			sum += 1.0;
			continue;
		}
		type = etl_dialect_type(rows->text + cell->begin, cell->end - cell->begin);
		sum += type == DIALECT_OTHER ? 0.0 : type == DIALECT_WORDS ? 0.8 :
										 type == DIALECT_EMPTY	   ? 0.5 :
																	 1.0;
	}
	return rows->ncells == 0 ? 0.0 : sum / rows->ncells;
}

/*
 * judge scores one way to read the sample.
 */
static void
judge(DialectRows *rows, Reading *reading, size_t length, size_t at, const char *comment)
{
	double		pattern;

	read_rows(rows, reading, length, at, comment);
	pattern = judge_pattern(rows, reading);
	reading->score = pattern * Max(judge_values(rows, reading), 1e-6);
	if (rows->bad > 0)
		reading->score *= rows->bad >= MAX_BAD ? 0.05 : 0.5;
	/* blanks and colons stand inside values */
	if ((reading->delimiter == ' ' || reading->delimiter == ':') && reading->columns > 1)
		reading->score *= 0.35;
}

/*
 * choose tries every way that the options leave open.  Returns the best, and
 * in '*second' the score of the best with another delimiter.
 */
static Reading
choose(DialectRows *rows, const EtlDialect *dialect, size_t length, size_t at, double *second)
{
	Reading		best = {0};
	double		scores[lengthof(delimiters)] = {0};
	bool		given = dialect->aspects[ETL_DIALECT_DELIMITER].given;
	bool		quote_given = dialect->aspects[ETL_DIALECT_QUOTE].given;

	best.score = -1.0;
	for (int d = 0; d < (given ? 1 : lengthof(delimiters)); d++)
		for (int q = 0; q < (quote_given ? 1 : lengthof(quotings)); q++)
		{
			Reading		reading = {given ? dialect->delimiter : delimiters[d],
							   quote_given ? dialect->quote : quotings[q].quote,
							   quote_given ? dialect->escape : quotings[q].escape};

			if (reading.quote == reading.delimiter ||
				memchr(rows->text, reading.delimiter, length) == NULL)
			{
				if (d > 0 || q > 0)
					continue;
			}
			/* what does not occur changes nothing */
			if (q > 0 && quotings[q].quote != '\0' && memchr(rows->text, reading.quote, length) == NULL)
				continue;
			if (q > 0 && reading.escape == '\\' && memchr(rows->text, '\\', length) == NULL)
				continue;
			judge(rows, &reading, length, at, dialect->comment);
			scores[d] = Max(scores[d], reading.score);
			if (reading.score > best.score * 1.0001 &&
				(reading.quote == '\0' || q == 0 || reading.quoted > 0))
				best = reading;
		}
	*second = 0.0;
	for (int d = 0; d < lengthof(delimiters); d++)
		if (given || delimiters[d] != best.delimiter)
			*second = Max(*second, scores[d]);
	return best;
}

/*
 * find_comment notices lines above the records that begin with #.
 */
static void
find_comment(EtlDialect *dialect, const char *text, size_t length)
{
	size_t		at = 0;

	if (dialect->comment != NULL || length == 0 || text[0] != '#')
		return;
	while (at < length && text[at] == '#')
		at = next_line(text, length, at);
	if (at < length)
		dialect->comment = "#";
}

/*
 * find_preamble counts the lines above the records: those of the first
 * records that have another number of fields than nearly all that follow.
 */
static int
find_preamble(const DialectRows *rows, const Reading *reading, size_t *at)
{
	int			n = 0;
	int			lines = 0;
	int			agree = 0;
	size_t		begin = *at;

	while (n < Min(rows->nrecords, MAX_PREAMBLE) && rows->first[n + 1] - rows->first[n] != reading->columns)
		n++;
	for (int i = n; i < rows->nrecords; i++)
		agree += rows->first[i + 1] - rows->first[i] == reading->columns;
	if (n == 0 || reading->columns < 2 || agree < 3 || agree < 0.9 * (rows->nrecords - n))
		return 0;
	/* a quote may stand before the first cell */
	while (begin < rows->cells[rows->first[n]].begin)
	{
		size_t		next = next_line(rows->text, rows->cells[rows->first[n]].begin, begin);

		if (next > rows->cells[rows->first[n]].begin ||
			(next == rows->cells[rows->first[n]].begin && rows->text[next - 1] != '\n' &&
			 rows->text[next - 1] != '\r'))
			break;
		begin = next;
		lines++;
	}
	*at = begin;
	return lines;
}

/*
 * be_sure sets how certain delimiter and quoting are.
 */
static void
be_sure(EtlDialect *dialect, const DialectRows *rows, const Reading *best, double second)
{
	EtlDialectAspect *delimiter = &dialect->aspects[ETL_DIALECT_DELIMITER];
	EtlDialectAspect *quote = &dialect->aspects[ETL_DIALECT_QUOTE];
	double		margin = best->score > 0 ? Max(best->score - second, 0.0) / best->score : 0.0;
	double		enough = rows->nrecords >= 5 ? 1.0 : 0.5 + 0.1 * rows->nrecords;

	if (!delimiter->given)
	{
		delimiter->confidence = Min(best->agreement * enough * (0.5 + 0.5 * Min(margin * 1.25, 1.0)), 1.0);
		if (best->columns < 2)
			delimiter->doubt = "the records seem to have one field";
		else if (margin < 0.5)
			delimiter->doubt = "another delimiter divides the records nearly as well";
		else if (best->agreement < 0.9)
			delimiter->doubt = "the records differ in their number of fields";
		else if (enough < 1.0)
			delimiter->doubt = "there are few records";
	}
	if (!quote->given)
	{
		quote->confidence = rows->bad > 0 ? 0.5 : best->quoted > 0 || best->quote == '"' ? 1.0 :
																						   0.8;
		if (rows->bad > 0)
			quote->doubt = "some quotes do not close, or have text behind them";
		else if (best->quoted == 0 && best->quote == '\0')
			quote->doubt = "quotes stand inside fields only";
	}
}

/*
 * take_given reads what the options say.
 */
static void
take_given(EtlDialect *dialect, const Jsonb *options)
{
	static const char *const keys[] = {"encoding", "delimiter", "quote", "header", "decimal"};
	char	   *text;

	for (int i = 0; i < ETL_DIALECT_ASPECTS; i++)
	{
		dialect->aspects[i].given = etl_json_get_text(options, keys[i]) != NULL;
		dialect->aspects[i].confidence = 1.0;
	}
	dialect->encoding = etl_json_get_text(options, "encoding");
	text = etl_json_get_text(options, "delimiter");
	dialect->delimiter = text ? text[0] : ',';
	text = etl_json_get_text(options, "quote");
	dialect->quote = text ? text[0] : '"';
	text = etl_json_get_text(options, "escape");
	dialect->escape = text && text[0] ? text[0] : dialect->quote;
	text = etl_json_get_text(options, "header");
	dialect->header = text == NULL || strcmp(text, "false") != 0;
	text = etl_json_get_text(options, "decimal");
	dialect->decimal = text ? text[0] : '.';
	text = etl_json_get_text(options, "thousands");
	dialect->thousands = text ? text[0] : '\0';
	dialect->comment = etl_json_get_text(options, "comment");
	dialect->skip_lines = etl_json_get_int64(options, "skip_lines", -1);
}

/*
 * find_start returns where the records begin: behind the lines to skip.
 */
static size_t
find_start(EtlDialect *dialect, const char *text, size_t length)
{
	size_t		at = 0;

	for (int i = 0; i < dialect->skip_lines; i++)
		at = next_line(text, length, at);
	find_comment(dialect, text + at, length - at);
	return at;
}

/*
 * last_line_end cuts the line that the end of the sample cuts.
 */
static size_t
last_line_end(const char *text, size_t length)
{
	size_t		end = length;

	while (end > 0 && text[end - 1] != '\n' && text[end - 1] != '\r')
		end--;
	return end == 0 ? length : end;
}

EtlDialect *
etl_dialect_detect(const char *bytes, size_t length, bool whole, const Jsonb *options)
{
	EtlDialect *dialect = palloc0(sizeof(EtlDialect));
	DialectRows rows = {0};
	Reading		best;
	double		second;
	size_t		text_length;
	size_t		at;
	char	   *text;

	take_given(dialect, options);
	text = etl_dialect_text(dialect, bytes, length, whole, &text_length);
	if (!whole)
		text_length = last_line_end(text, text_length);
	at = find_start(dialect, text, text_length);
	rows.text = text;
	rows.maxcells = 1024;
	rows.cells = palloc(rows.maxcells * sizeof(CsvCell));
	rows.first = palloc((MAX_RECORDS + 1) * sizeof(int));

	best = choose(&rows, dialect, text_length, at, &second);
	judge(&rows, &best, text_length, at, dialect->comment);
	if (dialect->skip_lines < 0)
	{
		dialect->skip_lines = find_preamble(&rows, &best, &at);
		if (dialect->skip_lines > 0)
			judge(&rows, &best, text_length, at, dialect->comment);
	}
	if (rows.nrecords == 0)
		return NULL;
	dialect->delimiter = best.delimiter;
	dialect->quote = best.quote;
	dialect->escape = best.escape;
	dialect->columns = best.columns;
	dialect->records = rows.nrecords;
	be_sure(dialect, &rows, &best, second);
	etl_dialect_find_header(dialect, &rows);
	etl_dialect_find_decimal(dialect, &rows);
	dialect->confidence = 1.0;
	for (int i = 0; i < ETL_DIALECT_ASPECTS; i++)
		dialect->confidence = Min(dialect->confidence, dialect->aspects[i].confidence);
	return dialect;
}
